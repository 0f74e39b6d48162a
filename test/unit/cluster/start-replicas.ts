import { Leases, type LeaseTimes } from '../../../src/cluster/leases.ts';
import { Membership, type MembershipTimes } from '../../../src/cluster/membership.ts';
import { RedisConnection } from '../../../src/cluster/redis/connection.ts';
import type { RedisSettings } from '../../../src/cluster/redis/settings.ts';
import { clusterKeys } from '../../../src/cluster/replica-scripts.ts';
import { TagHints, type TagTimes } from '../../../src/cluster/tag-hints.ts';
import { type Clock, systemClock } from '../../../src/mirror/ports/clock.ts';
import type { ContentQuestion } from '../../../src/mirror/ports/shared-work.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import { parseRepository } from '../../../src/oci/reference.ts';
import { thisTest } from '../../support/owner.ts';
import { RecordingClusterObserver } from './redis/start-connection.ts';

export interface Replicated {
  readonly connection: RedisConnection;
  readonly membership: Membership;
  readonly leases: Leases;
  readonly tags: TagHints;
  readonly observer: RecordingClusterObserver;
}

export interface ReplicaOptions {
  readonly clock?: Clock;
  readonly times?: MembershipTimes & LeaseTimes & TagTimes;
}

/** A fraction of the times in production. */
export const shortTimes = {
  beatMs: 100,
  lifetimeMs: 500,
  renewMs: 50,
  lingerMs: 300,
  holderMs: 60_000,
  mostWaitMs: 1_000,
  firstPollMs: 10,
  lastPollMs: 20,
};
/** None of them passes during a test. */
export const longTimes = { ...shortTimes, lifetimeMs: 60_000, renewMs: 60_000, lingerMs: 60_000, beatMs: 60_000 };

/** What one replica shares through Redis, with a connection of its own. It ends with the test. */
export async function startReplica(
  settings: RedisSettings,
  id: string,
  { clock = systemClock, times = longTimes }: ReplicaOptions = {},
): Promise<Replicated> {
  const observer = new RecordingClusterObserver();
  const backoff = { firstMs: 50, hungMs: 300, mostMs: 500 };
  const connection = new RedisConnection({ name: 'cluster', settings, clock: systemClock, observer, backoff });
  const keys = clusterKeys('layerwell');
  const self = { id, address: `http://${id}:5002` };
  const membership = new Membership({ self, redis: connection, keys, observer, times });
  const deps = { membership, redis: connection, keys, clock, observer, times };
  const [leases, tags] = [new Leases(deps), new TagHints(deps)];
  thisTest(async () => {
    const signal = AbortSignal.timeout(2_000);
    tags.stop();
    await leases.stop({ signal });
    await membership.leave({ signal });
    await connection.stop({ signal });
  });
  await connection.start();
  await membership.start();
  return { connection, membership, leases, tags, observer };
}

/** Several, each of which knows the others. */
export async function startReplicas(
  settings: RedisSettings,
  ids: readonly string[],
  options: ReplicaOptions = {},
): Promise<readonly Replicated[]> {
  const replicas = [];
  for (const id of ids) replicas.push(await startReplica(settings, id, options));
  for (const { membership } of replicas) await membership.start();
  return replicas;
}

/** Content of its own for each name. */
export function contentNamed(name: string, repository = 'library/alpine'): ContentQuestion {
  const digest = digestOf(Buffer.from(name));
  return { repositoryId: { upstream: 'docker.io', repository: parseRepository(repository) }, digest };
}

export const none: ReadonlySet<string> = new Set();
