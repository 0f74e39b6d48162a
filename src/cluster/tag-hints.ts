import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../mirror/ports/clock.ts';
import type { ClusterObserver } from '../mirror/ports/observer.ts';
import { parseTagRecord, type TagRecord } from '../mirror/ports/record-store.ts';
import type { RepositoryId } from '../mirror/ports/repository-id.ts';
import type { TagClaim, TagTurn } from '../mirror/ports/shared-work.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';
import { isJsonObject, parseJson } from '../oci/json.ts';
import type { Tag } from '../oci/reference.ts';
import type { Membership } from './membership.ts';
import type { RedisCommands } from './redis/connection.ts';
import { listIn, numberIn, type Reply, textIn } from './redis/reply.ts';
import { answerTag, claimTag, type ClusterKeys, extendLease, releaseLease } from './replica-scripts.ts';

/** Milliseconds. */
export interface TagTimes {
  /** The claim of a replica that died is over this long after its last renewal. */
  readonly lifetimeMs: number;
  readonly renewMs: number;
  /** After this a replica asks the upstream itself, whoever is about to. */
  readonly mostWaitMs: number;
  readonly firstPollMs: number;
  readonly lastPollMs: number;
}

export interface TagHintsDeps {
  readonly membership: Pick<Membership, 'self'>;
  readonly redis: RedisCommands;
  readonly keys: ClusterKeys;
  readonly clock: Clock;
  readonly observer: Pick<ClusterObserver, 'lease'>;
  readonly times?: TagTimes;
  readonly random?: () => number;
}

/** An upstream may take its time; but perhaps it is out of reach only for the replica that asks. */
const usualTimes: TagTimes = {
  lifetimeMs: 4_000,
  renewMs: 1_000,
  mostWaitMs: 12_000,
  firstPollMs: 25,
  lastPollMs: 200,
};
/** The most lookups that wait for another replica; beyond that each asks the upstream. */
export const maxWaiting = 1_000;
/** A tag that is fresh forever is told for this long. */
const maxHintMs = 30 * 24 * 3_600_000;

const unshared: TagTurn = {
  kind: 'ask',
  claim: { answered: () => {}, [Symbol.dispose]: () => {} },
};

/** What upstreams answered for tags, told among replicas: one of them asks. Without Redis each asks for itself. */
export class TagHints {
  readonly #deps: TagHintsDeps;
  readonly #times: TagTimes;
  #waiting = 0;
  #hasStopped = false;

  constructor(deps: TagHintsDeps) {
    this.#deps = deps;
    this.#times = deps.times ?? usualTimes;
  }

  /** What another replica has learnt of a tag, or that this one is to ask. Waits a few seconds at most. @throws the signal's reason */
  async turn(repositoryId: RepositoryId, tag: Tag, { signal }: Waiting): Promise<TagTurn> {
    const { clock, random = Math.random } = this.#deps;
    const { mostWaitMs, firstPollMs, lastPollMs } = this.#times;
    const endMs = clock.monotonicMs() + mostWaitMs;
    for (let pollMs = firstPollMs, tries = 0; ; pollMs = Math.min(pollMs * 1.5, lastPollMs), tries += 1) {
      signal.throwIfAborted();
      const turn = await this.#once(repositoryId, tag, tries === 0 ? 'taken' : 'taken_over');
      if (turn !== 'held') return turn;
      if (clock.monotonicMs() >= endMs || this.#waiting >= maxWaiting || this.#hasStopped) return unshared;
      if (tries === 0) this.#deps.observer.lease({ kind: 'tag', what: 'waited' });
      await this.#pause(pollMs * (0.75 + 0.5 * random()), signal);
    }
  }

  /** Nothing waits for other replicas from now on. */
  stop(): void {
    this.#hasStopped = true;
  }

  /** @param event of a claim, for metrics. */
  async #once(repositoryId: RepositoryId, tag: Tag, event: 'taken' | 'taken_over'): Promise<TagTurn | 'held'> {
    const { redis, keys, membership, observer, clock } = this.#deps;
    if (this.#hasStopped) return unshared;
    const value = `${membership.self.id} ${randomUUID()}`;
    const asked = [keys.tag(repositoryId, tag), keys.tagLease(repositoryId, tag)];
    const args = [value, this.#times.lifetimeMs, membership.self.id];
    try {
      const reply = await redis.run({ script: claimTag, keys: asked, args });
      const answer = answerIn(reply, tag, clock.now());
      if (answer === 'held') return answer;
      if (answer !== 'ask') return { kind: 'answered', record: answer };
    } catch {
      return unshared;
    }
    observer.lease({ kind: 'tag', what: event });
    return { kind: 'ask', claim: this.#claimOf(asked, value) };
  }

  /** The claim of this replica, renewed until it has answered or was disposed. Then it does nothing more. */
  #claimOf(keys: readonly string[], value: string): TagClaim {
    const { redis } = this.#deps;
    const { lifetimeMs, renewMs } = this.#times;
    const lease = keys.slice(1);
    const extend = (): void =>
      void redis.run({ script: extendLease, keys: lease, args: [value, lifetimeMs] }).catch(() => {});
    const timer = setInterval(extend, renewMs).unref();
    let isOver = false;
    const end = (): void => {
      isOver = true;
      clearInterval(timer);
    };
    return {
      answered: (record, freshForMs) => {
        const hintMs = Math.floor(Math.min(freshForMs, maxHintMs));
        if (isOver || hintMs <= 0) return;
        end();
        redis.run({ script: answerTag, keys, args: [hintText(record, hintMs), hintMs, value] }).catch(() => {});
      },
      [Symbol.dispose]: () => {
        if (isOver) return;
        end();
        redis.run({ script: releaseLease, keys: lease, args: [value] }).catch(() => {});
      },
    };
  }

  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    this.#waiting += 1;
    try {
      await sleep(ms, undefined, { signal });
    } catch {
      signal.throwIfAborted();
    } finally {
      this.#waiting -= 1;
    }
  }
}

function hintText({ digest, previous, mediaType, size }: TagRecord, lifetimeMs: number): string {
  return JSON.stringify({ digest, previous, mediaType, size, lifetimeMs });
}

/**
 * The record in a reply. Its age is what its lifetime lost by the time of Redis; `nowMs` is the clock of this replica.
 * @throws RedisUnavailable for a reply that the script does not make.
 */
function answerIn(reply: Reply, tag: Tag, nowMs: number): TagRecord | 'held' | 'ask' {
  const [kind, hint, leftMs] = listIn(reply);
  if (kind === 'held' || kind === 'ask') return kind;
  const value = parseJson(textIn(hint));
  const lifetimeMs = isJsonObject(value) ? value['lifetimeMs'] : undefined;
  if (!isJsonObject(value) || typeof lifetimeMs !== 'number') throw new Error('the hint of a tag is malformed');
  const ageMs = Math.max(0, lifetimeMs - numberIn(leftMs));
  const record = parseTagRecord({ ...value, confirmedAtMs: nowMs - ageMs }, tag);
  if (record === undefined) throw new Error('the hint of a tag is malformed');
  return record;
}
