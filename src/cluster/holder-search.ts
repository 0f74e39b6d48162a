import type { Clock } from '../mirror/ports/clock.ts';
import type { RepositoryId } from '../mirror/ports/repository-id.ts';
import type { ContentQuestion } from '../mirror/ports/shared-work.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';
import { UpstreamError } from '../oci/errors.ts';
import type { Lease, Leases } from './leases.ts';
import type { Membership, Replica } from './membership.ts';
import type { Sibling } from './sibling-client.ts';
import type { Siblings } from './siblings.ts';

export interface HolderSearchDeps {
  readonly leases: Pick<Leases, 'claim' | 'forget'>;
  readonly membership: Pick<Membership, 'refresh'>;
  readonly siblings: Pick<Siblings, 'at'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
}

/** A replica that may have the content, or is about to. */
export interface Holder {
  readonly replicaId: string;
  readonly cache: Pick<Sibling, 'openBlob' | 'manifest'>;
  /** Whether it has the content; else it is downloading it. */
  readonly isStored: boolean;
  /** For which repository it is asked: the one for which it downloads the content, or else the one that the content is wanted for. */
  readonly repositoryId: RepositoryId;
  /** To be called when it does not have the content. */
  readonly hasNot: () => void;
}

/** How many replicas one download gives up before it asks the upstream by itself. */
const maxFailed = 16;
/** After this time no further replica is asked: the client waits. One that is frozen takes 6 s. */
const searchForMs = 8_000;

/**
 * The search of one download for a replica that has the content, or gets it. A replica that was given up is not asked again by this download,
 * and its lease is taken over. When there is none, this replica holds the lease, and the others read from it.
 */
export class HolderSearch {
  readonly #question: ContentQuestion;
  readonly #deps: HolderSearchDeps;
  readonly #failed: Set<string>;
  #lease: Lease | undefined;
  #hasBegun = false;
  #isAlone = false;

  /** @param distrusted ids of replicas that are not asked. */
  constructor(question: ContentQuestion, distrusted: Iterable<string>, deps: HolderSearchDeps) {
    this.#question = question;
    this.#failed = new Set(distrusted);
    this.#deps = deps;
  }

  /** Whether a holder was looked for. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** Ids of the replicas that were given up. */
  get failed(): ReadonlySet<string> {
    return this.#failed;
  }

  giveUp(replicaId: string): void {
    this.#failed.add(replicaId);
  }

  /**
   * Asks holders in turn until one has an answer. Those that have none, or fail, are given up.
   * @param ask resolves with `alone` if the holder is left as it is, and this replica gets the content by itself.
   * @returns undefined if this replica is to get the content by itself.
   * @throws the signal's reason; what `ask` throws, except UpstreamError.
   */
  async ask<Value extends object>(
    ask: (holder: Holder) => Promise<Value | 'alone' | undefined>,
    waiting: Waiting,
  ): Promise<Value | undefined> {
    const endMs = this.#deps.clock.monotonicMs() + searchForMs;
    for (let holder = await this.#next(endMs, waiting); holder; holder = await this.#next(endMs, waiting)) {
      const answer = await answerOf(() => askNoting(holder, ask), waiting);
      if (typeof answer === 'object') return answer;
      if (answer === 'alone') this.#isAlone = true;
      else this.giveUp(holder.replicaId);
    }
    return undefined;
  }

  /** Keeps the lease while the content is got from elsewhere. */
  use(): Disposable {
    return this.#lease?.use() ?? { [Symbol.dispose]: () => {} };
  }

  async #next(endMs: number, waiting: Waiting): Promise<Holder | undefined> {
    this.#hasBegun = true;
    const { repositoryId } = this.#question;
    const { clock } = this.#deps;
    while (this.#failed.size <= maxFailed && !this.#isAlone) {
      waiting.signal.throwIfAborted();
      const claim = await this.#deps.leases.claim(this.#question, { failed: this.#failed });
      if (claim.kind === 'mine') {
        this.#lease = claim.lease;
        return undefined;
      }
      if (clock.monotonicMs() >= endMs) return undefined;
      const isHeld = claim.kind === 'held';
      const replicas = isHeld ? [claim.holder] : claim.holders;
      if (replicas.length === 0) return undefined;
      for (const replica of replicas) {
        const cache = await this.#reach(replica);
        const repository = isHeld ? claim.repository : repositoryId.repository;
        const hasNot = (): void => (isHeld ? undefined : this.#deps.leases.forget(this.#question, replica));
        const asked = { ...repositoryId, repository };
        if (cache) return { replicaId: replica.id, cache, isStored: !isHeld, repositoryId: asked, hasNot };
        this.giveUp(replica.id);
      }
    }
    return undefined;
  }

  /** The secret is sent to members only: one that has just joined may not be known here yet. */
  async #reach({ address }: Replica): Promise<Holder['cache'] | undefined> {
    const { siblings, membership } = this.#deps;
    const known = siblings.at(address);
    if (known) return known;
    await membership.refresh();
    return siblings.at(address);
  }
}

/** A replica that is named as a holder and says that it has nothing is no longer named: it has evicted the content. */
async function askNoting<Value>(
  holder: Holder,
  ask: (holder: Holder) => Promise<Value | undefined>,
): Promise<Value | undefined> {
  const answer = await ask(holder);
  if (answer === undefined) holder.hasNot();
  return answer;
}

/** A replica that refuses the secret of this one works all the same: its lease is not taken over. */
async function answerOf<Value>(
  ask: () => Promise<Value | 'alone' | undefined>,
  { signal }: Waiting,
): Promise<Value | 'alone' | undefined> {
  try {
    return await ask();
  } catch (cause) {
    signal.throwIfAborted();
    if (!(cause instanceof UpstreamError)) throw cause;
    return cause.reason === 'refused' ? 'alone' : undefined;
  }
}
