import { randomUUID } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { RedisConnection } from '../../src/cluster/redis/connection.ts';
import type { RedisSettings } from '../../src/cluster/redis/settings.ts';
import { RedisIndex, type RedisIndexDeps } from '../../src/index/redis/redis-index.ts';
import { systemClock } from '../../src/mirror/ports/clock.ts';
import type { Totals } from '../../src/mirror/ports/store-index.ts';
import { ManualClock } from './manual-clock.ts';
import type { IndexOptions } from './sqlite-index.ts';

export interface StartedRedisIndex {
  readonly index: RedisIndex;
  readonly connection: RedisConnection;
  readonly failures: readonly unknown[];
}

export interface RedisIndexOptions extends IndexOptions {
  readonly storeId?: string;
  readonly run?: string;
  readonly lastRun?: string;
  readonly maxBufferedWrites?: number;
  readonly countStore?: () => Promise<Totals>;
  /** As the connection has it; longer where a busy machine must not look like a Redis that hangs. */
  readonly commandWithinMs?: number;
  readonly clock?: ManualClock;
}

const nothing: Totals = { bytes: 0, manifestBytes: 0, diskBytes: 0, keptBytes: 0, manifests: 0, blobs: 0, records: 0 };

/** A store without records. */
export const noStoredLinks: RedisIndexDeps['storedLinks'] = {
  borrowable: async () => [],
  linked: () => {},
  names: () => {},
  forget: () => {},
};

/** An index whose view lies in a Redis, open until the test has ended. */
export async function startRedisIndex(
  settings: RedisSettings,
  { storeId = randomUUID(), run = 'same', lastRun = 'same', ...options }: RedisIndexOptions = {},
): Promise<StartedRedisIndex> {
  const failures: unknown[] = [];
  const connection = new RedisConnection({
    name: 'index',
    settings,
    commandWithinMs: options.commandWithinMs,
    clock: systemClock,
    observer: { redisAnswered: () => {}, redisChanged: () => {} },
  });
  const index = new RedisIndex({
    countStore: async () => nothing,
    storedLinks: noStoredLinks,
    ...options,
    redis: connection,
    keyPrefix: 'layerwell',
    storeId: async () => storeId,
    runs: { run, lastRun },
    clock: options.clock ?? new ManualClock(),
    observer: { internalError: ({ cause }) => failures.push(cause) },
  });
  await index.start();
  onTestFinished(() => index.stop());
  return { index, connection, failures };
}
