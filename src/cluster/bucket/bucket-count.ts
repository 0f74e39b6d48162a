import type { Clock } from '../../mirror/ports/clock.ts';
import type { RedisCommands } from '../redis/connection.ts';
import { listIn, numberIn, type Reply, redisScript, type Script } from '../redis/reply.ts';
import type { ClusterKeys } from '../replica-scripts.ts';

/** What is known of a bucket without listing it. */
export interface BucketEstimate {
  /** What it held after the last sweep; undefined when that is not known. */
  readonly heldBytes: number | undefined;
  /** What was uploaded since that sweep began. */
  readonly uploadedBytes: number;
  /** How long ago the last sweep ended, and how long it took; undefined when none is known. */
  readonly lastSweep: { readonly agoMs: number; readonly tookMs: number } | undefined;
  /** Whether Redis said so: for all replicas. Else it is what this replica knows and uploaded. */
  readonly isOfAll: boolean;
}

export interface BucketCountDeps {
  /** Undefined without a cluster: then this process counts for itself. */
  readonly shared?:
    | { readonly redis: Pick<RedisCommands, 'run'>; readonly keys: Pick<ClusterKeys, 'bucket'> }
    | undefined;
  readonly clock: Pick<Clock, 'monotonicMs'>;
}

/** Longer than the longest pause between two sweeps. */
const lifetimeMs = 24 * 3_600_000;

// The hash has `held`, `swept` (a time of Redis) and `took` of the last sweep, `uploaded`, and `earlier`: what was uploaded before the sweep that
// runs. Only a sweep that ends drops `earlier`: one that fails, or whose replica is killed, leaves the count as it was.

/** What others wrote there would else make every script fail for good. */
const dropSpoiled = `
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end
local names = {'uploaded', 'earlier', 'held', 'swept', 'took'}
for place, value in ipairs(redis.call('HMGET', KEYS[1], unpack(names))) do
  if value and (#value > 17 or not string.find(value, '^%d+$')) then redis.call('HDEL', KEYS[1], names[place]) end
end`;

const estimate = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('PEXPIRE', KEYS[1], ${lifetimeMs})
local count = redis.call('HMGET', KEYS[1], 'uploaded', 'earlier', 'held', 'swept', 'took')
local function text(number) return string.format('%.0f', number) end
local uploaded = text((tonumber(count[1]) or 0) + (tonumber(count[2]) or 0))
return {uploaded, count[3] or '-1', count[4] and text(math.max(0, now - count[4])) or '-1', count[5] or '0'}`;

/** KEYS bucket. ARGV bytes. Returns what was uploaded since the last sweep, what it left or -1, how long ago it ended or -1, and how long it took. */
const addUploaded = redisScript(
  'bucket',
  `${dropSpoiled}
redis.call('HINCRBY', KEYS[1], 'uploaded', ARGV[1])${estimate}`,
);

/** KEYS bucket. What was uploaded so far will be seen by the sweep that begins. */
const beginSweep = redisScript(
  'sweep_begin',
  `${dropSpoiled}
redis.call('HINCRBY', KEYS[1], 'earlier', redis.call('HGET', KEYS[1], 'uploaded') or 0)
redis.call('HSET', KEYS[1], 'uploaded', 0)${estimate}`,
);

/** KEYS bucket. ARGV bytes that the bucket holds, how long the sweep took. */
const endSweep = redisScript(
  'sweep_end',
  `${dropSpoiled}
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'held', ARGV[1], 'took', ARGV[2], 'swept', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
redis.call('HDEL', KEYS[1], 'earlier')${estimate}`,
);

interface Known {
  readonly heldBytes: number | undefined;
  readonly uploadedBytes: number;
  readonly lastSweep: { readonly endedAtMs: number; readonly tookMs: number } | undefined;
}

/** At a sweep's begin. */
interface Begun {
  readonly uploadedBytes: number;
  readonly unsentBytes: number;
}

/**
 * How much was uploaded to the bucket since its last sweep: by all replicas, as Redis counts it. It is a hint, which may be lost. While Redis does
 * not answer, each replica goes on from what it knew with its own uploads, and adds them when Redis answers again. Nothing here throws.
 */
export class BucketCount {
  readonly #deps: BucketCountDeps;
  #known: Known = { heldBytes: undefined, uploadedBytes: 0, lastSweep: undefined };
  /** Of this replica, not added to the count in Redis yet. It is known here. */
  #unsentBytes = 0;
  #begun: Begun = { uploadedBytes: 0, unsentBytes: 0 };
  #isOfAll = false;
  #sending: Promise<void> | undefined;

  constructor(deps: BucketCountDeps) {
    this.#deps = deps;
  }

  /** This replica has uploaded so much. In the background: one command for all that is uploaded meanwhile. */
  add(bytes: number): void {
    this.#unsentBytes += bytes;
    this.#known = { ...this.#known, uploadedBytes: this.#known.uploadedBytes + bytes };
    void this.#send();
  }

  /** Asks Redis. */
  async now(): Promise<BucketEstimate> {
    await this.#send();
    const { heldBytes, uploadedBytes, lastSweep } = this.#known;
    const agoMs = this.#deps.clock.monotonicMs() - (lastSweep?.endedAtMs ?? 0);
    return {
      heldBytes,
      uploadedBytes,
      lastSweep: lastSweep && { agoMs, tookMs: lastSweep.tookMs },
      isOfAll: this.#isOfAll,
    };
  }

  /** A sweep begins: it will see what was uploaded so far. */
  async sweepBegins(): Promise<void> {
    await this.#send();
    await this.#run(beginSweep, []);
    this.#begun = { uploadedBytes: this.#known.uploadedBytes, unsentBytes: this.#unsentBytes };
  }

  /** The sweep that began last has ended, and left so much. */
  async sweepEnded({ heldBytes, tookMs }: { readonly heldBytes: number; readonly tookMs: number }): Promise<void> {
    await this.#send();
    if (await this.#run(endSweep, [heldBytes, Math.round(tookMs)])) return;
    const uploadedBytes = Math.max(0, this.#known.uploadedBytes - this.#begun.uploadedBytes);
    this.#unsentBytes = Math.max(0, this.#unsentBytes - this.#begun.unsentBytes);
    this.#known = { heldBytes, uploadedBytes, lastSweep: { endedAtMs: this.#deps.clock.monotonicMs(), tookMs } };
  }

  #send(): Promise<void> {
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined;
    });
    return this.#sending;
  }

  /** What is added meanwhile goes with the next command. */
  async #sendAll(): Promise<void> {
    for (let isSent = true; isSent; ) {
      const bytes = this.#unsentBytes;
      isSent = await this.#run(addUploaded, [bytes], bytes);
      if (this.#unsentBytes === 0) return;
    }
  }

  /** @returns whether Redis answered. */
  async #run(script: Script, args: readonly number[], sentBytes = 0): Promise<boolean> {
    const { shared, clock } = this.#deps;
    if (!shared) return false;
    try {
      const known = knownFrom(
        await shared.redis.run({ script, keys: [shared.keys.bucket()], args }),
        clock.monotonicMs(),
      );
      this.#unsentBytes = Math.max(0, this.#unsentBytes - sentBytes);
      this.#known = { ...known, uploadedBytes: known.uploadedBytes + this.#unsentBytes };
      this.#isOfAll = true;
    } catch {
      this.#isOfAll = false;
    }
    return this.#isOfAll;
  }
}

/** @throws RedisUnavailable for a reply that the scripts do not make. */
function knownFrom(reply: Reply, nowMs: number): Known {
  const [uploaded, held, ago, took] = listIn(reply).map(numberIn);
  const [heldBytes = -1, agoMs = -1] = [held, ago];
  return {
    uploadedBytes: Math.max(0, uploaded ?? 0),
    heldBytes: heldBytes < 0 ? undefined : heldBytes,
    lastSweep: agoMs < 0 ? undefined : { endedAtMs: nowMs - agoMs, tookMs: Math.max(0, took ?? 0) },
  };
}
