import { randomUUID } from 'node:crypto';
import type { RedisCommands } from '../redis/connection.ts';
import { numberIn } from '../redis/reply.ts';
import { type ClusterKeys, releaseLease, renewLease } from '../replica-scripts.ts';

export interface SweepLeaseDeps {
  readonly redis: Pick<RedisCommands, 'run'>;
  readonly keys: Pick<ClusterKeys, 'sweep'>;
  readonly replicaId: string;
  /** Milliseconds. */
  readonly times?: { readonly lifetimeMs: number; readonly renewMs: number };
}

/** Held while a replica sweeps the bucket; its signal aborts when another replica has it. */
export interface HeldSweep extends AsyncDisposable {
  readonly signal: AbortSignal;
}

const usualTimes = { lifetimeMs: 30_000, renewMs: 10_000 };

/**
 * Takes the lease under which one replica at a time sweeps the bucket. While Redis does not answer it is granted: a second sweep at the same time
 * removes the same things, and costs only its calls.
 * @returns undefined when another replica holds it.
 */
export async function holdSweep(deps: SweepLeaseDeps): Promise<HeldSweep | undefined> {
  const { redis, keys, replicaId, times = usualTimes } = deps;
  const text = `${replicaId} ${randomUUID()}`;
  const lost = new AbortController();
  const isOurs = async () => {
    const args = [text, times.lifetimeMs];
    const reply = redis.run({ script: renewLease, keys: [keys.sweep()], args });
    return (await reply.then(numberIn).catch(() => 1)) === 1;
  };
  if (!(await isOurs())) return undefined;
  let renewing = Promise.resolve();
  const renew = async () => {
    if (!(await isOurs())) lost.abort(new Error('another replica sweeps the bucket'));
  };
  const timer = setInterval(() => {
    renewing = renew();
  }, times.renewMs).unref();
  return {
    signal: lost.signal,
    [Symbol.asyncDispose]: async () => {
      clearInterval(timer);
      await renewing; // Or it would take the lease again.
      await redis.run({ script: releaseLease, keys: [keys.sweep()], args: [text] }).catch(() => {});
    },
  };
}
