import { UpstreamError } from '../../oci/errors.ts';
import { isDigest } from '../../oci/digest.ts';
import type { Reference } from '../../oci/reference.ts';
import type { Background } from '../concurrency/background.ts';
import type { UpstreamWaiters } from '../concurrency/upstream-waiters.ts';
import { freshnessOf, type FreshnessPolicies } from '../tags/freshness.ts';
import type { Clock } from '../ports/clock.ts';
import { ifAnswered, type OtherCache } from '../ports/other-caches.ts';
import { parseVisibilityRecord, type RecordStore, type VisibilityRecord } from '../ports/record-store.ts';
import { type RepositoryId, repositoryKey } from '../ports/repository-id.ts';
import { RepositoryHidden, type Upstream } from '../ports/upstream.ts';
import type { SharedWorkTracing } from '../ports/tracing.ts';
import type { Waiting } from '../ports/waiting.ts';
import { boundedMap, RememberedNotFound } from '../concurrency/remembered.ts';
import { SingleFlight } from '../concurrency/single-flight.ts';

/** The visibility of a repository, and when and why the last check failed. */
export interface KnownVisibility extends VisibilityRecord {
  readonly failedAtMs?: number;
  readonly failure?: UpstreamError;
}

/** How long each verdict holds, and how long a failed check is not repeated. Milliseconds. */
export interface VisibilityLifetimes {
  readonly publicForMs: number;
  readonly hiddenForMs: number;
  readonly retryFailedAfterMs: number;
}

/** A verdict with its age. `unconfirmed`: its lifetime is over, and a check has just failed. */
type VerdictState =
  | 'none'
  | 'public'
  | 'public-unconfirmed'
  | 'public-expired'
  | 'hidden'
  | 'hidden-unconfirmed'
  | 'hidden-expired';

/**
 * What a verdict means for a request, by what the request needs. `cached`: content of this mirror. `upstream`: a request with an account of
 * the mirror, for which a verdict holds no longer than a tag.
 *
 *     serve-and-ask  the check runs in the background
 *     ask            the request waits for the check: a hidden repository may have just been pushed
 *     unavailable    the request fails as the check did
 */
const decisions = {
  none: { cached: 'ask', upstream: 'ask' },
  public: { cached: 'serve', upstream: 'serve' },
  'public-unconfirmed': { cached: 'serve', upstream: 'unavailable' },
  'public-expired': { cached: 'serve-and-ask', upstream: 'ask' },
  hidden: { cached: 'hide', upstream: 'hide' },
  'hidden-unconfirmed': { cached: 'hide', upstream: 'hide' },
  'hidden-expired': { cached: 'ask', upstream: 'ask' },
} as const satisfies Record<VerdictState, { readonly cached: string; readonly upstream: string }>;

type Needs = 'cached' | 'upstream';

/** What a verdict means for the request at hand, as {@link decisions} has it. Pure. */
export function visibilityDecision<Need extends Needs>(
  need: Need,
  known: KnownVisibility | undefined,
  lifetimes: VisibilityLifetimes,
  nowMs: number,
): (typeof decisions)[VerdictState][Need] {
  return decisions[verdictState(known, lifetimes, nowMs)][need];
}

function verdictState(
  known: KnownVisibility | undefined,
  { publicForMs, hiddenForMs, retryFailedAfterMs }: VisibilityLifetimes,
  nowMs: number,
): VerdictState {
  if (!known) return 'none';
  const { verdict, askedAtMs, failedAtMs } = known;
  const holds = (sinceMs: number, ms: number) => freshnessOf(sinceMs, ms, nowMs) === 'fresh';
  if (holds(askedAtMs, verdict === 'public' ? publicForMs : hiddenForMs)) return verdict;
  const hasJustFailed = failedAtMs !== undefined && holds(failedAtMs, retryFailedAfterMs);
  return `${verdict}-${hasJustFailed ? 'unconfirmed' : 'expired'}`;
}

/** One verdict is enough for a whole pull, even if tags have a shorter lifetime. */
const minRecentMs = 1_000;

export interface VisibilityDeps extends Pick<VisibilityLifetimes, 'publicForMs' | 'retryFailedAfterMs'> {
  readonly records: RecordStore;
  readonly background: Background;
  readonly waiters: Pick<UpstreamWaiters, 'wait'>;
  readonly clock: Clock;
  readonly policies: FreshnessPolicies;
  /** Deadline for the upstream's answer. */
  readonly askWithinMs: number;
  /** Asked when there is no verdict here and the upstream gives no answer. */
  readonly caches: Pick<OtherCache, 'visibility'>;
  readonly tracing?: SharedWorkTracing | undefined;
}

export interface VisibilityQuestion {
  readonly upstream: Pick<Upstream, 'label' | 'askVisibility'>;
  readonly repositoryId: RepositoryId;
  /** The manifest that is wanted; undefined for anything else. */
  readonly reference: Reference | undefined;
}

/**
 * Which repositories anonymous clients may read upstream. One check for all concurrent callers; verdicts are kept in memory and in the
 * store. While the upstream does not answer, the last verdict holds; if there is none here, that of another cache.
 */
export class Visibility {
  readonly #deps: VisibilityDeps;
  readonly #memory = boundedMap<string, KnownVisibility>(100_000);
  readonly #flights: SingleFlight<KnownVisibility>;

  constructor(deps: VisibilityDeps) {
    this.#deps = deps;
    this.#flights = new SingleFlight(deps);
  }

  /**
   * Does not wait for a repository that is known to be public.
   * @throws OciError NAME_UNKNOWN when it is hidden, as for a repository that does not exist; UpstreamError unavailable when there was
   * never a verdict.
   */
  check(question: VisibilityQuestion, waiting: Waiting): Promise<void> | undefined {
    const known = this.#memory.get(repositoryKey(question.repositoryId));
    return known && this.#decide(question.upstream.label, known) === 'serve'
      ? undefined
      : this.#look(question, waiting);
  }

  /**
   * Like {@link check}, for requests to the upstream: the verdict may be no older than the lifetime of a tag.
   * @throws OciError NAME_UNKNOWN when it is hidden; UpstreamError when there is no recent verdict.
   */
  checkBeforeAsking(question: VisibilityQuestion, waiting: Waiting): Promise<void> | undefined {
    const known = this.#memory.get(repositoryKey(question.repositoryId));
    return known && this.#decideBeforeAsking(question, known) === 'serve'
      ? undefined
      : this.#lookAgain(question, waiting);
  }

  /** Whether a verdict that still holds says public. No request is made. */
  async isPublicNow(repositoryId: RepositoryId, label: string): Promise<boolean> {
    return this.#decide(label, await this.#known(repositoryId)) === 'serve';
  }

  /** As {@link isPublicNow}, but a verdict that could not be confirmed after its lifetime is not enough. No request is made. */
  async hasFreshPublicVerdict(repositoryId: RepositoryId, label: string): Promise<boolean> {
    const known = await this.#known(repositoryId);
    return verdictState(known, this.#lifetimes(label), this.#deps.clock.now()) === 'public';
  }

  /** Whether the last verdict was public. No request is made. */
  async isKnownPublic(repositoryId: RepositoryId): Promise<boolean> {
    return (await this.lastVerdict(repositoryId))?.verdict === 'public';
  }

  /** The last verdict, of any age. No request is made. */
  lastVerdict(repositoryId: RepositoryId): Promise<VisibilityRecord | undefined> {
    return this.#known(repositoryId);
  }

  async #look(question: VisibilityQuestion, waiting: Waiting): Promise<void> {
    const known = await this.#known(question.repositoryId);
    switch (this.#decide(question.upstream.label, known)) {
      case 'serve':
        return;
      case 'serve-and-ask':
        return this.#checkInBackground(question, known);
      case 'hide':
        throw new RememberedNotFound(new RepositoryHidden(question.repositoryId));
      case 'ask': {
        const ask = () => this.#ask(question, known, waiting);
        const { verdict } = await this.#deps.waiters.wait(question.upstream.label, ask);
        if (verdict === 'hidden') throw new RepositoryHidden(question.repositoryId);
      }
    }
  }

  async #lookAgain(question: VisibilityQuestion, waiting: Waiting): Promise<void> {
    const known = await this.#known(question.repositoryId);
    const before = this.#decideBeforeAsking(question, known);
    if (before === 'serve') return;
    const found = before === 'ask' ? await this.#ask(question, known, waiting) : known;
    if (!found || found.verdict === 'hidden') throw new RepositoryHidden(question.repositoryId);
    if (before === 'unavailable' || found.failedAtMs !== undefined)
      throw found.failure ?? verdictMissing(question.repositoryId, undefined);
  }

  #decide(label: string, known: KnownVisibility | undefined) {
    return visibilityDecision('cached', known, this.#lifetimes(label), this.#deps.clock.now());
  }

  #lifetimes(label: string): VisibilityLifetimes {
    const { policies, publicForMs, retryFailedAfterMs } = this.#deps;
    // What is hidden may not exist: then it is a 404 like any other, and remembered as long.
    return { publicForMs, hiddenForMs: policies.rulesOf(label).missingMs, retryFailedAfterMs };
  }

  #decideBeforeAsking(
    { upstream: { label }, repositoryId, reference }: VisibilityQuestion,
    known: KnownVisibility | undefined,
  ) {
    const { clock, policies, publicForMs, retryFailedAfterMs } = this.#deps;
    const { missingMs: hiddenForMs, tagMs } = policies.rulesOf(label);
    const lifetimeMs =
      reference === undefined || isDigest(reference)
        ? tagMs
        : policies.tagLifetimeMs(label, `${repositoryKey(repositoryId)}:${reference}`);
    const recentForMs = Math.min(publicForMs, Math.max(lifetimeMs, minRecentMs));
    const lifetimes = { publicForMs: recentForMs, hiddenForMs, retryFailedAfterMs };
    return visibilityDecision('upstream', known, lifetimes, clock.now());
  }

  async #known(repositoryId: RepositoryId): Promise<KnownVisibility | undefined> {
    const remembered = this.#memory.get(repositoryKey(repositoryId));
    if (remembered) return remembered;
    const record = parseVisibilityRecord(await this.#deps.records.read({ kind: 'visibility', repositoryId }));
    // Another caller may have checked meanwhile.
    const newer = this.#memory.get(repositoryKey(repositoryId));
    if (record && !newer) this.#memory.set(repositoryKey(repositoryId), record);
    return newer ?? record;
  }

  /** Checks in the background. */
  #checkInBackground(question: VisibilityQuestion, known: KnownVisibility | undefined): void {
    this.#deps.background.run('visibility', async () => {
      await this.#ask(question, known, { signal: new AbortController().signal });
    });
  }

  async #ask(
    question: VisibilityQuestion,
    known: KnownVisibility | undefined,
    waiting: Waiting,
  ): Promise<KnownVisibility> {
    const ask = (flight: Waiting) => this.#answered(question, known, flight);
    return (await this.#flights.run(repositoryKey(question.repositoryId), ask, waiting)).value;
  }

  async #answered(
    { upstream, repositoryId, reference }: VisibilityQuestion,
    known: KnownVisibility | undefined,
    { signal }: Waiting,
  ): Promise<KnownVisibility> {
    const { clock, askWithinMs } = this.#deps;
    const budget = AbortSignal.timeout(askWithinMs);
    try {
      const options = { signal: AbortSignal.any([signal, budget]) };
      const verdict = await upstream.askVisibility(repositoryId.repository, reference, options);
      return this.#record(repositoryId, { verdict, askedAtMs: clock.now() }, known);
    } catch (cause) {
      signal.throwIfAborted();
      if (!budget.aborted && !(cause instanceof UpstreamError)) throw cause;
      const last = known ?? (await this.#elsewhere(repositoryId, { signal }));
      if (!last) throw verdictMissing(repositoryId, cause);
      const kept = { ...last, failedAtMs: clock.now(), failure: noVerdict(repositoryId, cause) };
      this.#memory.set(repositoryKey(repositoryId), kept);
      return kept;
    }
  }

  /** The last verdict of another cache. It stands as an own one of the same age would. */
  async #elsewhere(repositoryId: RepositoryId, waiting: Waiting): Promise<VisibilityRecord | undefined> {
    const found = await ifAnswered(() => this.#deps.caches.visibility(repositoryId, waiting), waiting);
    return found && this.#record(repositoryId, found, undefined);
  }

  /** Writes nothing for repositories that were never public: clients may ask for any number of names. */
  #record(repositoryId: RepositoryId, record: VisibilityRecord, known: KnownVisibility | undefined): VisibilityRecord {
    const { records, background } = this.#deps;
    this.#memory.set(repositoryKey(repositoryId), record);
    if (record.verdict === 'public' || known?.verdict === 'public') {
      background.run('visibility record', () => records.write({ kind: 'visibility', repositoryId }, record));
    }
    return record;
  }
}

function verdictMissing({ upstream }: RepositoryId, cause: unknown): UpstreamError {
  const retryAfterSeconds = cause instanceof UpstreamError ? cause.retryAfterSeconds : undefined;
  const message = `${upstream} has not said yet whether this repository is public`;
  return new UpstreamError('unavailable', message, { cause, retryAfterSeconds });
}

/** The failure of the check as that of the request: whether cached content is served stale depends on its reason. */
function noVerdict({ upstream }: RepositoryId, cause: unknown): UpstreamError {
  const message = `${upstream} did not confirm that this repository is still public`;
  if (!(cause instanceof UpstreamError)) return new UpstreamError('timeout', message, { cause });
  const { reason, retryAfterSeconds } = cause;
  return new UpstreamError(reason, message, { cause, retryAfterSeconds });
}
