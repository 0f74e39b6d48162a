import { randomUUID } from 'node:crypto';
import { boundedMap } from '../mirror/concurrency/remembered.ts';
import { abortable } from '../mirror/concurrency/abortable-wait.ts';
import type { Clock } from '../mirror/ports/clock.ts';
import type { ClusterObserver } from '../mirror/ports/observer.ts';
import { repositoryKey } from '../mirror/ports/repository-id.ts';
import type { ContentQuestion } from '../mirror/ports/shared-work.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';
import type { Digest } from '../oci/digest.ts';
import { isRepository, type Repository } from '../oci/reference.ts';
import { type Membership, parseReplica, type Replica, replicaText } from './membership.ts';
import type { RedisCommands } from './redis/connection.ts';
import { listIn, numberIn, type Reply, textIn, textsIn } from './redis/reply.ts';
import { claimContent, type ClusterKeys, nameHolder, releaseLease, renewLease } from './replica-scripts.ts';

/** What Redis said to the claim of content that this replica lacks. */
export type Claim =
  /** These have it, in random order. There is no lease. */
  | { readonly kind: 'stored'; readonly holders: readonly Replica[] }
  /** This one downloads it, for that repository. */
  | { readonly kind: 'held'; readonly holder: Replica; readonly repository: Repository }
  /** This replica is to get it from the bucket or the upstream; also while Redis does not answer. */
  | { readonly kind: 'mine'; readonly lease: Lease };

/** Tells the others that this replica gets some content. Held while it is in use, and for a few seconds after that. */
export interface Lease {
  /** Keeps it while a source is asked and while its body is read. */
  use(): Disposable;
}

/** Milliseconds. */
export interface LeaseTimes {
  /** Leases expire this long after their last renewal. */
  readonly lifetimeMs: number;
  readonly renewMs: number;
  /** How long one is held that is not in use: until the content is committed, or its download resumed. */
  readonly lingerMs: number;
  /** How long a replica is named as a holder. */
  readonly holderMs: number;
}

export interface LeasesDeps {
  readonly membership: Pick<Membership, 'self' | 'isLive' | 'refresh'>;
  readonly redis: RedisCommands;
  readonly keys: ClusterKeys;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly observer: Pick<ClusterObserver, 'lease'>;
  readonly times?: LeaseTimes;
  /** In [0, 1), for the order of holders. */
  readonly random?: () => number;
}

const usualTimes: LeaseTimes = { lifetimeMs: 6_000, renewMs: 2_000, lingerMs: 5_000, holderMs: 24 * 3_600_000 };
/** The most leases of one replica. Beyond it, it downloads without telling the others. */
export const maxLeases = 1_000;
/** The most holders of one content. */
export const maxHolders = 16;
/** How much content is remembered as named in Redis, so that its name can be removed; and for how many repositories each. */
const maxNamed = 10_000;
const maxRepositories = 16;

interface Held {
  readonly key: string;
  /** The value in Redis: with the token, so that no other lease is renewed or released. */
  readonly text: string;
  users: number;
  unusedSinceMs: number;
}

const unshared: Lease = { use: () => ({ [Symbol.dispose]: () => {} }) };

/** Who has content, and who downloads it: one replica for each digest and upstream. Without Redis every replica downloads for itself. */
export class Leases {
  readonly #deps: LeasesDeps;
  readonly #times: LeaseTimes;
  readonly #held = new Map<string, Held>();
  readonly #named = boundedMap<Digest, ReadonlyMap<string, ContentQuestion>>(maxNamed);
  #timer: NodeJS.Timeout | undefined;
  #hasStopped = false;
  /** How many claims wait for Redis: each may become a lease. */
  #claiming = 0;

  constructor(deps: LeasesDeps) {
    this.#deps = deps;
    this.#times = deps.times ?? usualTimes;
  }

  /**
   * Claims content. Never rejects.
   * @param failed ids of the replicas that this download gave up. The lease of one of them is taken over.
   */
  async claim(question: ContentQuestion, { failed }: { readonly failed: ReadonlySet<string> }): Promise<Claim> {
    const isFull = this.#held.size + this.#claiming >= maxLeases && !this.#held.has(this.#deps.keys.lease(question));
    if (this.#hasStopped || isFull) return { kind: 'mine', lease: unshared };
    this.#claiming += 1;
    try {
      return await this.#claim(question, failed);
    } catch {
      return { kind: 'mine', lease: unshared };
    } finally {
      this.#claiming -= 1;
    }
  }

  /** Names this replica as a holder and releases its lease. Never throws. */
  stored(question: ContentQuestion): void {
    const { redis, keys, membership } = this.#deps;
    if (this.#hasStopped) return;
    const key = keys.lease(question);
    this.#held.delete(key);
    this.#remember(question);
    const args = [replicaText(membership.self), this.#times.holderMs, maxHolders, membership.self.id];
    redis.run({ script: nameHolder, keys: [keys.holders(question), key], args }).catch(() => {});
  }

  /** This replica has the content no longer. Never throws. */
  removed(digest: Digest): void {
    const named = this.#named.get(digest);
    this.#named.delete(digest);
    for (const question of named?.values() ?? []) this.forget(question, this.#deps.membership.self);
  }

  /** A replica that was named as a holder does not have the content. Never throws. */
  forget(question: ContentQuestion, holder: Replica): void {
    const { redis, keys } = this.#deps;
    const args = [keys.holders(question), replicaText(holder)];
    redis.call('forget', { command: 'ZREM', args }).catch(() => {});
  }

  #remember(question: ContentQuestion): void {
    const named = [
      ...(this.#named.get(question.digest) ?? []),
      [repositoryKey(question.repositoryId), question] as const,
    ];
    this.#named.set(question.digest, new Map(named.slice(-maxRepositories)));
  }

  /** Releases every lease, so that others take over at once. Further claims are for this replica alone. Never fails. */
  async stop({ signal }: Waiting): Promise<void> {
    this.#hasStopped = true;
    clearInterval(this.#timer);
    const held = [...this.#held.values()];
    this.#held.clear();
    await abortable(Promise.all(held.map((each) => this.#release(each))), signal).catch(() => {});
  }

  async #claim(question: ContentQuestion, failed: ReadonlySet<string>): Promise<Claim> {
    const { membership, random = Math.random } = this.#deps;
    const first = await this.#ask(question, failed, new Set());
    if (first.kind === 'mine') return this.#taken(question, first);
    if (first.kind === 'held') return this.#followed(first);
    const alive = () => first.holders.filter(({ id }) => membership.isLive(id));
    if (alive().length === 0) await membership.refresh(); // They may have joined a moment ago.
    const live = alive();
    if (live.length > 0) return { kind: 'stored', holders: shuffled(live, random) };
    const gone = new Set(first.holders.map(({ id }) => id));
    const second = await this.#ask(question, failed, gone);
    if (second.kind === 'mine') return this.#taken(question, second);
    return second.kind === 'held' ? this.#followed(second) : { kind: 'stored', holders: second.holders };
  }

  async #ask(question: ContentQuestion, failed: ReadonlySet<string>, gone: ReadonlySet<string>): Promise<Answer> {
    const { redis, keys, membership } = this.#deps;
    const { id, address } = membership.self;
    const { repository } = question.repositoryId;
    const { lifetimeMs } = this.#times;
    const args = [id, randomUUID(), address, repository, lifetimeMs, maxHolders, spaced(failed), spaced(gone)];
    const asked = [keys.lease(question), keys.holders(question)];
    return answerIn(await redis.run({ script: claimContent, keys: asked, args }));
  }

  #followed({ holder, repository }: Answer & { readonly kind: 'held' }): Claim {
    this.#deps.observer.lease({ kind: 'content', what: 'waited' });
    return { kind: 'held', holder, repository };
  }

  #taken(question: ContentQuestion, { token, isTakenOver }: Answer & { readonly kind: 'mine' }): Claim {
    const { keys, membership, clock, observer } = this.#deps;
    const { id, address } = membership.self;
    const key = keys.lease(question);
    const text = `${id} ${token} ${address} ${question.repositoryId.repository}`;
    const known = this.#held.get(key);
    if (known?.text === text) {
      known.unusedSinceMs = clock.monotonicMs();
      return { kind: 'mine', lease: this.#leaseOf(known) };
    }
    observer.lease({ kind: 'content', what: isTakenOver ? 'taken_over' : 'taken' });
    const held: Held = { key, text, users: 0, unusedSinceMs: clock.monotonicMs() };
    this.#held.set(key, held);
    this.#timer ??= setInterval(() => this.#renewAll(), this.#times.renewMs).unref();
    return { kind: 'mine', lease: this.#leaseOf(held) };
  }

  #leaseOf(held: Held): Lease {
    return {
      use: () => {
        held.users += 1;
        let isDisposed = false;
        return {
          [Symbol.dispose]: () => {
            if (isDisposed) return;
            isDisposed = true;
            held.users -= 1;
            held.unusedSinceMs = this.#deps.clock.monotonicMs();
          },
        };
      },
    };
  }

  /** Renews what is used, and releases what has not been used for a while. */
  #renewAll(): void {
    const { clock } = this.#deps;
    for (const held of this.#held.values()) {
      const isOver = held.users === 0 && clock.monotonicMs() - held.unusedSinceMs >= this.#times.lingerMs;
      if (!isOver) void this.#renew(held);
      else {
        this.#held.delete(held.key);
        void this.#release(held);
      }
    }
    if (this.#held.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** A lease that another replica took over is lost: this one keeps what it downloads, and does not name itself. */
  async #renew(held: Held): Promise<void> {
    const { redis, observer } = this.#deps;
    try {
      const args = [held.text, this.#times.lifetimeMs];
      const isOurs = numberIn(await redis.run({ script: renewLease, keys: [held.key], args })) === 1;
      if (this.#held.get(held.key) !== held) await this.#release(held);
      else if (!isOurs) {
        this.#held.delete(held.key);
        observer.lease({ kind: 'content', what: 'lost' });
      }
    } catch {
      // It expires, or is renewed when Redis answers again.
    }
  }

  async #release({ key, text }: Held): Promise<void> {
    await this.#deps.redis.run({ script: releaseLease, keys: [key], args: [text] }).catch(() => {});
  }
}

type Answer =
  | { readonly kind: 'stored'; readonly holders: readonly Replica[] }
  | { readonly kind: 'held'; readonly holder: Replica; readonly repository: Repository }
  | { readonly kind: 'mine'; readonly token: string; readonly isTakenOver: boolean };

/** @throws RedisUnavailable for a reply that the script does not make. */
function answerIn(reply: Reply): Answer {
  const [kind, what, isTakenOver] = listIn(reply);
  if (kind === 'mine') return { kind, token: textIn(what), isTakenOver: numberIn(isTakenOver) === 1 };
  if (kind === 'stored') {
    const holders = textsIn(what).map(parseReplica);
    return { kind, holders: holders.filter((holder) => holder !== undefined) };
  }
  const [id = '', , address = '', repository = ''] = textIn(what).split(' ');
  if (!isRepository(repository)) throw new Error('the lease names no repository');
  return { kind: 'held', holder: { id, address }, repository };
}

function spaced(ids: ReadonlySet<string>): string {
  return [' ', ...[...ids].map((id) => `${id} `)].join('');
}

/** The same in random order, so that not all ask the same holder. */
function shuffled<Item>(items: readonly Item[], random: () => number): readonly Item[] {
  const keyed = items.map((item) => ({ item, key: random() }));
  return keyed.toSorted((a, b) => a.key - b.key).map(({ item }) => item);
}
