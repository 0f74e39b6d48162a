import { OciError, UpstreamError } from '../oci/errors.ts';
import type { Tag } from '../oci/reference.ts';
import { type FreshnessPolicies, freshnessOf, staleDecision } from './freshness.ts';
import type { Manifests } from './manifests.ts';
import type { CacheStatus, Clock, Observer, RepositoryId, Upstream, Waiting } from './ports.ts';
import type { RateLimits } from './rate-limits.ts';
import type { TagRecord } from './records.ts';
import { Remembered, RememberedNotFound } from './remembered.ts';
import { SingleFlight } from './single-flight.ts';
import { newestComplete } from './stale-image.ts';
import { type TagBook, tagKey } from './tag-book.ts';
import type { ContentLookup } from './content-lookup.ts';

export interface TagsDeps {
  readonly book: TagBook;
  readonly manifests: Manifests;
  readonly lookup: ContentLookup;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly policies: FreshnessPolicies;
  readonly rateLimits: Pick<RateLimits, 'lifetimeFactor'>;
  /** How long a cached tag waits for its upstream before it is served stale. */
  readonly revalidateWithinMs: number;
  /** How long a failed look upstream is not repeated. */
  readonly retryFailedAfterMs: number;
}

export interface ResolvedTag {
  readonly record: TagRecord;
  readonly cache: CacheStatus;
}

/** One question about one tag. */
interface Question {
  readonly upstream: Upstream;
  readonly of: RepositoryId;
  readonly tag: Tag;
  readonly key: string;
  /** A client's HEAD never causes a GET unless the upstream's HEAD lacks digest or length. */
  readonly wantsBody: boolean;
}

/** Turns tags into digests: from memory while fresh, else by one shared look upstream, else stale while there is no answer. */
export class Tags {
  readonly #deps: TagsDeps;
  readonly #flights = new SingleFlight<ResolvedTag>();
  /** What is served while a look upstream that failed is not repeated. */
  readonly #failed: Remembered<ResolvedTag | OciError>;

  constructor(deps: TagsDeps) {
    this.#deps = deps;
    this.#failed = new Remembered({ clock: deps.clock, max: 20_000 });
  }

  /** The answer that needs no waiting: a tag in memory, within its lifetime. */
  fresh(upstream: Upstream, of: RepositoryId, tag: Tag): TagRecord | undefined {
    const record = this.#deps.book.remembered(of, tag);
    return record && this.#isFresh(upstream, tagKey(of, tag), record) ? record : undefined;
  }

  /** @throws OciError MANIFEST_UNKNOWN; UpstreamError when nothing is cached and no answer came. */
  async resolve({ upstream, of, tag, wantsBody }: Omit<Question, 'key'>, waiting: Waiting): Promise<ResolvedTag> {
    const question = { upstream, of, tag, wantsBody, key: tagKey(of, tag) };
    const known = await this.#deps.book.get(of, tag);
    if (known && this.#isFresh(upstream, question.key, known)) return { record: known, cache: { word: 'hit' } };

    const failed = this.#failed.get(question.key);
    if (failed instanceof OciError) throw new RememberedNotFound(failed);
    if (failed) return failed;

    const { value, collapsed } = await this.#flights.run(
      question.key,
      (flight) => this.#look(question, known, flight),
      waiting,
    );
    if (!collapsed) return value;
    this.#deps.observer.collapsed({ kind: 'tag' });
    return value.cache.word === 'miss' ? { ...value, cache: { ...value.cache, word: 'collapsed' } } : value;
  }

  #isFresh(upstream: Upstream, key: string, record: TagRecord): boolean {
    const { policies, rateLimits } = this.#deps;
    const lifetimeMs = policies.tagLifetimeMs(upstream.label, key) * rateLimits.lifetimeFactor(upstream.label);
    return freshnessOf(record.confirmedAtMs, lifetimeMs, this.#deps.clock.now()) === 'fresh';
  }

  async #look(question: Question, known: TagRecord | undefined, waiting: Waiting): Promise<ResolvedTag> {
    try {
      return known ? await this.#revalidate(question, known, waiting) : await this.#first(question, waiting);
    } catch (cause) {
      waiting.signal.throwIfAborted();
      const stale = known && (await this.#serveStale(question, known, cause));
      if (stale) return stale;
      if (cause instanceof RevalidationTimeout) return this.#first(question, waiting);
      this.#rememberMissing(question, known, cause);
      throw cause;
    }
  }

  /** One HEAD. The digest moved, or it did not; the manifest itself is fetched by whoever wants it. */
  async #revalidate(question: Question, known: TagRecord, waiting: Waiting): Promise<ResolvedTag> {
    const { upstream, of, tag } = question;
    const head = await this.#withinBudget(waiting, (signal) => upstream.headManifest(of.repository, tag, { signal }));
    const { digest, mediaType, size } = head;
    if (digest === undefined) return this.#get(question, known, waiting);
    if (digest !== known.digest && (mediaType === undefined || size === undefined))
      return this.#get(question, known, waiting);
    return digest === known.digest
      ? this.#note(question, { ...known, confirmedAtMs: this.#deps.clock.now() }, known)
      : this.#note(question, this.#record({ digest, mediaType, size }, known), known);
  }

  async #first(question: Question, waiting: Waiting): Promise<ResolvedTag> {
    if (question.wantsBody) return this.#get(question, undefined, waiting);
    const { upstream, of, tag } = question;
    const { digest, mediaType, size } = await upstream.headManifest(of.repository, tag, waiting);
    if (digest === undefined || mediaType === undefined || size === undefined)
      return this.#get(question, undefined, waiting);
    return this.#note(question, this.#record({ digest, mediaType, size }, undefined), undefined);
  }

  async #get(question: Question, known: TagRecord | undefined, waiting: Waiting): Promise<ResolvedTag> {
    const { upstream, of, tag } = question;
    const fetched = await upstream.getManifest(of.repository, tag, waiting);
    const { digest, mediaType, bytes } = this.#deps.manifests.keep(of, fetched);
    const resolved = this.#note(question, this.#record({ digest, mediaType, size: bytes.byteLength }, known), known);
    return { ...resolved, cache: { word: 'miss', upstreamStatus: 200, stored: true } };
  }

  #record(
    found: { digest: TagRecord['digest']; mediaType: string | undefined; size: number | undefined },
    known: TagRecord | undefined,
  ): TagRecord {
    const previous = known?.digest === found.digest ? known.previous : known?.digest;
    return {
      digest: found.digest,
      mediaType: found.mediaType ?? known?.mediaType ?? '',
      size: found.size ?? known?.size ?? 0,
      confirmedAtMs: this.#deps.clock.now(),
      ...(previous && { previous }),
    };
  }

  #note({ upstream, of, tag, key }: Question, record: TagRecord, known: TagRecord | undefined): ResolvedTag {
    this.#deps.book.put(of, tag, record);
    this.#failed.forget(key);
    const same = known?.digest === record.digest;
    if (known)
      this.#deps.observer.tagRevalidated({ upstream: upstream.label, result: same ? 'not_modified' : 'changed' });
    return { record, cache: { word: same ? 'revalidated' : 'miss', upstreamStatus: 200 } };
  }

  /** The newest cached image this tag has meant, unless the rules forbid it. A failed look moves the clock: one a window, not one a pull. */
  async #serveStale(question: Question, known: TagRecord, cause: unknown): Promise<ResolvedTag | undefined> {
    const { clock, observer, policies, manifests, lookup, retryFailedAfterMs } = this.#deps;
    const { upstream, of, key } = question;
    const decision = staleDecision(cause, clock.now() - known.confirmedAtMs, policies.rulesOf(upstream.label));
    observer.tagRevalidated({ upstream: upstream.label, result: isGone(cause) ? 'gone' : 'error' });
    if (decision.word === 'fail') return undefined;
    const manifest = await newestComplete(of, known, { manifests, lookup });
    if (!manifest) return undefined;
    const record = {
      ...known,
      digest: manifest.digest,
      mediaType: manifest.mediaType,
      size: manifest.bytes.byteLength,
    };
    const upstreamStatus =
      cause instanceof UpstreamError ? cause.upstreamStatus : cause instanceof OciError ? cause.status : undefined;
    const stale: ResolvedTag = { record, cache: { word: 'stale', reason: decision.reason, upstreamStatus } };
    this.#failed.remember(key, stale, Math.min(retryFailedAfterMs, policies.tagLifetimeMs(upstream.label, key)));
    return stale;
  }

  #rememberMissing({ upstream, of, tag, key }: Question, known: TagRecord | undefined, cause: unknown): void {
    if (!isGone(cause)) return;
    if (known) this.#deps.book.forget(of, tag);
    this.#failed.remember(key, cause, this.#deps.policies.rulesOf(upstream.label).missingMs);
  }

  async #withinBudget<Value>({ signal }: Waiting, ask: (signal: AbortSignal) => Promise<Value>): Promise<Value> {
    const budget = AbortSignal.timeout(this.#deps.revalidateWithinMs);
    try {
      return await ask(AbortSignal.any([signal, budget]));
    } catch (cause) {
      if (budget.aborted && !signal.aborted) throw new RevalidationTimeout({ cause });
      throw cause;
    }
  }
}

class RevalidationTimeout extends UpstreamError {
  constructor(more: { cause: unknown }) {
    super('timeout', 'the upstream did not confirm the tag in time', more);
  }
}

function isGone(cause: unknown): cause is OciError {
  return cause instanceof OciError && cause.status === 404;
}
