import { LRUCache } from 'lru-cache';
import { UpstreamError } from '../../oci/errors.ts';
import { isDigest } from '../../oci/digest.ts';
import type { Reference } from '../../oci/reference.ts';
import type { Background } from '../concurrency/background.ts';
import type { UpstreamWaiters } from '../concurrency/upstream-waiters.ts';
import { freshnessOf, type FreshnessPolicies } from '../tags/freshness.ts';
import type { Clock } from '../ports/clock.ts';
import { parseVisibilityRecord, type RecordStore, type VisibilityRecord } from '../ports/record-store.ts';
import { type RepositoryId, repositoryKey } from '../ports/repository-id.ts';
import { RepositoryHidden, type Upstream } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';
import { RememberedNotFound } from '../concurrency/remembered.ts';
import { SingleFlight } from '../concurrency/single-flight.ts';

/** What was found out about a repository, and when and why asking about it last failed. */
export interface KnownVisibility extends VisibilityRecord {
  readonly failedAtMs?: number;
  readonly failure?: UpstreamError;
}

/** How long each verdict holds, and how long a question that failed is not repeated. Milliseconds. */
export interface VisibilityLifetimes {
  readonly publicForMs: number;
  readonly hiddenForMs: number;
  readonly retryFailedAfterMs: number;
}

/**
 * What a verdict means for the request at hand. Pure.
 *
 *     public   within its lifetime  serve
 *              after it             serve-and-ask: nobody waits for what is known
 *     hidden   within its lifetime  hide
 *              after it             ask: it may be a repository that has only just been pushed
 *     none                          ask
 */
export function visibilityDecision(
  known: KnownVisibility | undefined,
  lifetimes: VisibilityLifetimes,
  nowMs: number,
): 'serve' | 'serve-and-ask' | 'hide' | 'ask' {
  if (!known) return 'ask';
  const isPublic = known.verdict === 'public';
  const forMs = isPublic ? lifetimes.publicForMs : lifetimes.hiddenForMs;
  const holds = (sinceMs: number, ms: number) => freshnessOf(sinceMs, ms, nowMs) === 'fresh';
  const stands =
    holds(known.askedAtMs, forMs) ||
    (known.failedAtMs !== undefined && holds(known.failedAtMs, lifetimes.retryFailedAfterMs));
  if (isPublic) return stands ? 'serve' : 'serve-and-ask';
  return stands ? 'hide' : 'ask';
}

/** As {@link VisibilityLifetimes}; `recentForMs`: how old a verdict may be that is enough to ask the upstream with an account. */
export interface AskingLifetimes extends Pick<VisibilityLifetimes, 'hiddenForMs' | 'retryFailedAfterMs'> {
  readonly recentForMs: number;
}

/**
 * What a verdict means before an account of the mirror is shown to the upstream. Pure.
 *
 *     public   recent               go-on
 *              older                ask, and wait for the answer; unavailable while that has failed a moment ago
 *     hidden                        as for what is served from the cache
 *     none                          ask
 */
export function verdictBeforeAsking(
  known: KnownVisibility | undefined,
  { recentForMs, hiddenForMs, retryFailedAfterMs }: AskingLifetimes,
  nowMs: number,
): 'go-on' | 'hide' | 'ask' | 'unavailable' {
  if (!known) return 'ask';
  if (known.verdict === 'public' && freshnessOf(known.askedAtMs, recentForMs, nowMs) === 'fresh') return 'go-on';
  const hasJustFailed =
    known.failedAtMs !== undefined && freshnessOf(known.failedAtMs, retryFailedAfterMs, nowMs) === 'fresh';
  if (known.verdict === 'public') return hasJustFailed ? 'unavailable' : 'ask';
  return hasJustFailed || freshnessOf(known.askedAtMs, hiddenForMs, nowMs) === 'fresh' ? 'hide' : 'ask';
}

/** One verdict is enough for all of one pull, however short the lifetime of a tag is. */
const minRecentMs = 1_000;

export interface VisibilityDeps extends Pick<VisibilityLifetimes, 'publicForMs' | 'retryFailedAfterMs'> {
  readonly records: RecordStore;
  readonly background: Background;
  readonly waiters: Pick<UpstreamWaiters, 'wait'>;
  readonly clock: Clock;
  readonly policies: FreshnessPolicies;
  /** How long the upstream has for its answer. */
  readonly askWithinMs: number;
}

export interface VisibilityQuestion {
  readonly upstream: Pick<Upstream, 'label' | 'askVisibility'>;
  readonly of: RepositoryId;
  /** What of the repository is wanted, where that is a manifest. */
  readonly reference: Reference | undefined;
}

/**
 * Which repositories an anonymous caller may read upstream. Asked once for all who wait, remembered in memory and in the store; while
 * the upstream gives no answer, its last one stands.
 */
export class Visibility {
  readonly #deps: VisibilityDeps;
  readonly #memory = new LRUCache<string, KnownVisibility>({ max: 100_000 });
  readonly #flights = new SingleFlight<KnownVisibility>();

  constructor(deps: VisibilityDeps) {
    this.#deps = deps;
  }

  /**
   * Needs no waiting for a repository that is known to be public.
   * @throws OciError NAME_UNKNOWN where it is hidden, as for a repository that does not exist; UpstreamError unavailable where nobody
   * ever said.
   */
  check(question: VisibilityQuestion, waiting: Waiting): Promise<void> | undefined {
    const known = this.#memory.get(repositoryKey(question.of));
    return known && this.#decide(question.upstream.label, known) === 'serve'
      ? undefined
      : this.#look(question, waiting);
  }

  /**
   * As {@link check}, but for what is not cached and needs the upstream: a verdict must be no older than the lifetime of a tag, and while the
   * upstream gives none there is nothing.
   * @throws OciError NAME_UNKNOWN where it is hidden; UpstreamError where there is no recent verdict.
   */
  checkBeforeAsking(question: VisibilityQuestion, waiting: Waiting): Promise<void> | undefined {
    const known = this.#memory.get(repositoryKey(question.of));
    return known && this.#decideBeforeAsking(question, known) === 'go-on'
      ? undefined
      : this.#lookAgain(question, waiting);
  }

  /** Whether a verdict that still holds says public. No upstream is asked. */
  async isPublicNow(of: RepositoryId, label: string): Promise<boolean> {
    return this.#decide(label, await this.#known(of)) === 'serve';
  }

  /** Whether it was last found to be public. Nobody is asked. */
  async isKnownPublic(of: RepositoryId): Promise<boolean> {
    return (await this.#known(of))?.verdict === 'public';
  }

  async #look(question: VisibilityQuestion, waiting: Waiting): Promise<void> {
    const known = await this.#known(question.of);
    switch (this.#decide(question.upstream.label, known)) {
      case 'serve':
        return;
      case 'serve-and-ask':
        return this.#askBehind(question, known);
      case 'hide':
        throw new RememberedNotFound(new RepositoryHidden(question.of));
      case 'ask': {
        const ask = () => this.#ask(question, known, waiting);
        const { verdict } = await this.#deps.waiters.wait(question.upstream.label, ask);
        if (verdict === 'hidden') throw new RepositoryHidden(question.of);
      }
    }
  }

  async #lookAgain(question: VisibilityQuestion, waiting: Waiting): Promise<void> {
    const known = await this.#known(question.of);
    const before = this.#decideBeforeAsking(question, known);
    if (before === 'go-on') return;
    const found = before === 'ask' ? await this.#ask(question, known, waiting) : known;
    if (!found || found.verdict === 'hidden') throw new RepositoryHidden(question.of);
    if (before === 'unavailable' || found.failedAtMs !== undefined)
      throw found.failure ?? verdictMissing(question.of, undefined);
  }

  #decide(label: string, known: KnownVisibility | undefined) {
    const { clock, policies, publicForMs, retryFailedAfterMs } = this.#deps;
    // It may not exist at all: then it is a 404 as any other, and remembered as long.
    const hiddenForMs = policies.rulesOf(label).missingMs;
    return visibilityDecision(known, { publicForMs, hiddenForMs, retryFailedAfterMs }, clock.now());
  }

  #decideBeforeAsking({ upstream: { label }, of, reference }: VisibilityQuestion, known: KnownVisibility | undefined) {
    const { clock, policies, publicForMs, retryFailedAfterMs } = this.#deps;
    const { missingMs: hiddenForMs, tagMs } = policies.rulesOf(label);
    const lifetimeMs =
      reference === undefined || isDigest(reference)
        ? tagMs
        : policies.tagLifetimeMs(label, `${repositoryKey(of)}:${reference}`);
    const recentForMs = Math.min(publicForMs, Math.max(lifetimeMs, minRecentMs));
    return verdictBeforeAsking(known, { recentForMs, hiddenForMs, retryFailedAfterMs }, clock.now());
  }

  async #known(of: RepositoryId): Promise<KnownVisibility | undefined> {
    const remembered = this.#memory.get(repositoryKey(of));
    if (remembered) return remembered;
    const record = parseVisibilityRecord(await this.#deps.records.read({ kind: 'visibility', of }));
    // Somebody may have asked while we read.
    const newer = this.#memory.get(repositoryKey(of));
    if (record && !newer) this.#memory.set(repositoryKey(of), record);
    return newer ?? record;
  }

  /** Nobody waits for it. */
  #askBehind(question: VisibilityQuestion, known: KnownVisibility | undefined): void {
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
    return (await this.#flights.run(repositoryKey(question.of), ask, waiting)).value;
  }

  async #answered(
    { upstream, of, reference }: VisibilityQuestion,
    known: KnownVisibility | undefined,
    { signal }: Waiting,
  ): Promise<KnownVisibility> {
    const { clock, askWithinMs } = this.#deps;
    const budget = AbortSignal.timeout(askWithinMs);
    try {
      const options = { signal: AbortSignal.any([signal, budget]) };
      const verdict = await upstream.askVisibility(of.repository, reference, options);
      return this.#note(of, { verdict, askedAtMs: clock.now() }, known);
    } catch (cause) {
      signal.throwIfAborted();
      if (!budget.aborted && !(cause instanceof UpstreamError)) throw cause;
      if (!known) throw verdictMissing(of, cause);
      const standing = { ...known, failedAtMs: clock.now(), failure: noVerdict(of, cause) };
      this.#memory.set(repositoryKey(of), standing);
      return standing;
    }
  }

  /** Of what was never public nothing is written: clients may ask for names without end. */
  #note(of: RepositoryId, record: VisibilityRecord, known: KnownVisibility | undefined): VisibilityRecord {
    const { records, background } = this.#deps;
    this.#memory.set(repositoryKey(of), record);
    if (record.verdict === 'public' || known?.verdict === 'public') {
      background.run('visibility record', () => records.write({ kind: 'visibility', of }, record));
    }
    return record;
  }
}

function verdictMissing({ upstream }: RepositoryId, cause: unknown): UpstreamError {
  const retryAfterSeconds = cause instanceof UpstreamError ? cause.retryAfterSeconds : undefined;
  const message = `${upstream} does not answer whether everyone may read this repository, and never has`;
  return new UpstreamError('unavailable', message, { cause, retryAfterSeconds });
}

/** The same failure as that of the request for a verdict: whether cached content is served stale depends on it. */
function noVerdict({ upstream }: RepositoryId, cause: unknown): UpstreamError {
  const message = `${upstream} does not answer whether everyone may still read this repository`;
  if (!(cause instanceof UpstreamError)) return new UpstreamError('timeout', message, { cause });
  const { trouble, retryAfterSeconds } = cause;
  return new UpstreamError(trouble, message, { cause, retryAfterSeconds });
}
