import { setTimeout as sleep } from 'node:timers/promises';
import { redisSettingsOf, type RedisConfig } from '../app/cluster/redis-settings.ts';
import { RedisConnection, type RedisState } from '../cluster/redis/connection.ts';
import type { Config } from '../config/schema.ts';
import { systemClock } from '../mirror/ports/clock.ts';

/** The Redis of one use, and whether it can be used. */
export interface CheckedRedis {
  readonly line: string;
  readonly isUsable: boolean;
}

const answerWithinMs = 3_000;

/** Connects to each Redis of the configuration. Nothing is written. */
export function checkRedis({ index, cluster }: Config): Promise<readonly CheckedRedis[]> {
  const uses: readonly (readonly [string, RedisConfig])[] = [
    ...(index.driver === 'redis' ? [['index', index.redis] as const] : []),
    ...(cluster && !cluster.usesRedisOfIndex ? [['cluster', cluster.redis] as const] : []),
  ];
  return Promise.all(uses.map(([use, config]) => checkOne(use, config)));
}

async function checkOne(use: string, config: RedisConfig): Promise<CheckedRedis> {
  const settings = redisSettingsOf(config);
  const ignore = () => {};
  const observer = { redisAnswered: ignore, redisChanged: ignore };
  const connection = new RedisConnection({ name: use, settings, clock: systemClock, observer });
  const answered = Promise.withResolvers<void>();
  using _ = connection.onChange(({ state }) => state !== 'connecting' && answered.resolve());
  await connection.start();
  await Promise.race([answered.promise, sleep(answerWithinMs, undefined, { ref: false })]);
  const { state } = connection;
  await connection.stop({ signal: AbortSignal.timeout(answerWithinMs) });
  return { line: `redis of ${use}: ${wordsFor(state)}`, isUsable: state.state === 'up' };
}

function wordsFor({ state, reason, harmfulPolicy }: RedisState): string {
  if (state !== 'up') return `no usable answer (${reason ?? 'timeout'})`;
  return harmfulPolicy === undefined ? 'ok' : `ok, but its maxmemory-policy ${harmfulPolicy} may evict keys`;
}
