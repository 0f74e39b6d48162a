import type { ClusterObserver } from '../../../../src/mirror/ports/observer.ts';
import { RedisConnection, type RedisConnectionDeps } from '../../../../src/cluster/redis/connection.ts';
import { RedisUnavailable } from '../../../../src/cluster/redis/failure.ts';
import { redisScript } from '../../../../src/cluster/redis/reply.ts';
import { systemClock } from '../../../../src/mirror/ports/clock.ts';
import { thisTest } from '../../../support/owner.ts';

type Events<Name extends keyof ClusterObserver> = Parameters<ClusterObserver[Name]>[0][];

/** Keeps every event. */
export class RecordingClusterObserver implements ClusterObserver {
  readonly answered: Events<'redisAnswered'> = [];
  readonly changes: Events<'redisChanged'> = [];
  readonly replicas: number[] = [];
  readonly leases: Events<'lease'> = [];

  redisAnswered(event: Events<'redisAnswered'>[number]): void {
    this.answered.push(event);
  }

  redisChanged(event: Events<'redisChanged'>[number]): void {
    this.changes.push(event);
  }

  replicasKnown({ replicas }: Events<'replicasKnown'>[number]): void {
    this.replicas.push(replicas);
  }

  lease(event: Events<'lease'>[number]): void {
    this.leases.push(event);
  }
}

export interface StartedConnection {
  readonly connection: RedisConnection;
  readonly observer: RecordingClusterObserver;
}

/** A connection that ends with the test. */
export async function startConnection(
  settings: RedisConnectionDeps['settings'],
  deps: Partial<RedisConnectionDeps> = {},
): Promise<StartedConnection> {
  const observer = new RecordingClusterObserver();
  const connection = new RedisConnection({ name: 'test', settings, clock: systemClock, observer, ...deps });
  thisTest(() => connection.stop({ signal: AbortSignal.timeout(2_000) }));
  await connection.start();
  return { connection, observer };
}

const increment = redisScript('increment', "return redis.call('INCRBY', KEYS[1], ARGV[1])");
/** Runs a script that adds 2. */
export const add = (connection: RedisConnection, key = 'counter') =>
  connection.run({ script: increment, keys: [key], args: [2] });
/** Shorter than in earnest. */
export const backoff = { firstMs: 50, hungMs: 300, mostMs: 1_000 };

/** The word for what went wrong. */
export const failure = (asked: Promise<unknown>) =>
  asked.then(
    () => 'none',
    (cause: unknown) => (cause instanceof RedisUnavailable ? cause.reason : String(cause)),
  );
