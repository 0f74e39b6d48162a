import { UpstreamError } from '../../oci/errors.ts';
import type { Tag } from '../../oci/reference.ts';
import { type Flight, SingleFlight } from '../concurrency/single-flight.ts';
import { type SoftTimeout, TooSlow } from '../concurrency/soft-timeout.ts';
import { TooManyWaiters, type UpstreamWaiters } from '../concurrency/upstream-waiters.ts';
import type { CachedManifest, Manifests } from '../manifests/manifests.ts';
import type { CacheStatus } from '../ports/cache-status.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { TagRecord } from '../ports/record-store.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { SharedWork } from '../ports/shared-work.ts';
import { isNotFound, type Upstream } from '../ports/upstream.ts';
import type { SharedWorkTracing } from '../ports/tracing.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { RateLimits } from '../routing/rate-limits.ts';
import { failureDecision, type FreshnessPolicies, freshnessOf, tagDecision } from './freshness.ts';
import type { ResolvedTag, StaleFallbacks, TagQuestion } from './stale-fallbacks.ts';
import { type ClientTagQuestion, TagLookups } from './tag-lookups.ts';
import { tagKey, type TagRecords } from './tag-records.ts';

export interface TagsDeps {
  readonly tagRecords: Pick<TagRecords, 'get' | 'remembered' | 'put' | 'forget'>;
  readonly manifests: Pick<Manifests, 'keep' | 'cached' | 'fetch' | 'keepFetching'>;
  readonly fallbacks: Pick<
    StaleFallbacks,
    'hasFailed' | 'recent' | 'find' | 'findElsewhere' | 'rememberMissing' | 'forget'
  >;
  readonly softTimeout: Pick<SoftTimeout, 'for'>;
  readonly waiters: Pick<UpstreamWaiters, 'wait'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly observer: Pick<Observer, 'collapsed' | 'tagRevalidated' | 'tagMoved' | 'internalError'>;
  readonly policies: FreshnessPolicies;
  readonly shared: Pick<SharedWork, 'tagTurn'>;
  readonly rateLimits: Pick<RateLimits, 'lifetimeFactor'>;
  readonly tracing?: SharedWorkTracing | undefined;
}

/** What a tag points to, with its manifest. */
export interface FetchedTag {
  readonly manifest: CachedManifest;
  readonly cache: CacheStatus;
  readonly confirmedAtMs: number;
}

/** What a tag pointed to, and points to now; `stale` if the upstream did not tell. */
export interface RefreshedTag {
  readonly before: TagRecord;
  readonly now: ResolvedTag;
}

/**
 * Turns tags into digests.
 *
 *     a lookup failed a moment ago ──▶ its stale fallback, or its 404
 *     fresh ──▶ hit
 *     else one lookup for all clients that ask at the same time:
 *        another replica has just asked ──▶ hit
 *        unknown ──▶ HEAD or GET ──▶ miss
 *        known   ──▶ HEAD ──┬─▶ revalidated, or a miss where the tag has moved
 *                           ├─▶ no answer within the soft timeout ──▶ stale fallback ─ none ─▶ wait for the answer
 *                           └─▶ failed ──▶ stale fallback ─ none ─▶ fail
 *
 * The stale fallback is an image that is cached here, or what another cache has recorded for the tag; for an unknown tag the latter.
 * A request that exceeds the soft timeout is not aborted: its late answer ends the use of the stale fallback.
 */
export class Tags {
  readonly #deps: TagsDeps;
  readonly #lookups: TagLookups;
  /** One lookup of a tag for all its clients. It lasts as long as its request to the upstream, also when a stale fallback is served first. */
  readonly #flights: SingleFlight<ResolvedTag>;

  constructor(deps: TagsDeps) {
    this.#deps = deps;
    this.#flights = new SingleFlight(deps);
    this.#lookups = new TagLookups(deps);
  }

  /** The answer that needs no waiting: a tag in memory, within its lifetime. @throws RememberedNotFound */
  fresh(upstream: Upstream, repositoryId: RepositoryId, tag: Tag): ResolvedTag | undefined {
    const record = this.#deps.tagRecords.remembered(repositoryId, tag);
    const key = tagKey(repositoryId, tag);
    if (!record || !this.#isFresh(upstream, key, record)) return undefined;
    return this.#recentFallback(key) ?? hit(record);
  }

  /** @throws OciError MANIFEST_UNKNOWN; UpstreamError when nothing is cached and the upstream did not answer. */
  async resolve(
    { upstream, repositoryId, tag, wantsBody }: Omit<ClientTagQuestion, 'key'>,
    waiting: Waiting,
  ): Promise<ResolvedTag> {
    const question = { upstream, repositoryId, tag, wantsBody, key: tagKey(repositoryId, tag) };
    const known = await this.#deps.tagRecords.get(repositoryId, tag);
    const recent = this.#recentFallback(question.key);
    const isFresh = known !== undefined && this.#isFresh(upstream, question.key, known);
    const decision = tagDecision({ isKnown: known !== undefined, isFresh, hasRecentFallback: recent !== undefined });
    if (decision === 'repeat-fallback' && recent) return recent;
    if (decision === 'hit' && known) return hit(known);
    try {
      return await this.#lookUpTogether(question, known, waiting);
    } catch (cause) {
      const fallback =
        known && cause instanceof TooManyWaiters && (await this.#deps.fallbacks.find(question, known, cause));
      if (!fallback) throw cause;
      return fallback;
    }
  }

  /**
   * Asks the upstream now, however fresh the tag is, with all clients that wait for the tag meanwhile.
   * @returns undefined for a tag that is not cached. @throws as {@link resolve}.
   */
  async refresh(place: Omit<TagQuestion, 'key'>, waiting: Waiting): Promise<RefreshedTag | undefined> {
    const before = await this.#deps.tagRecords.get(place.repositoryId, place.tag);
    if (!before) return undefined;
    const question = { ...place, key: tagKey(place.repositoryId, place.tag), wantsBody: false, isRefresh: true };
    const joined = await this.#lookUpTogether(question, before, waiting);
    // The lookup of a client may have been answered by another replica.
    const isAnswered = joined.cache.word !== 'hit';
    return { before, now: isAnswered ? joined : await this.#lookUpTogether(question, before, waiting) };
  }

  /** The manifest of a tag whose manifest is not cached. If it cannot be fetched, the image that the tag pointed to before is served. */
  async fetch(place: Omit<TagQuestion, 'key'>, resolved: ResolvedTag, waiting: Waiting): Promise<FetchedTag> {
    const { record } = resolved;
    const question = { ...place, key: tagKey(place.repositoryId, place.tag) };
    const asked = this.#deps.manifests.fetch(place.upstream, place.repositoryId, record.digest, waiting);
    try {
      const { value, collapsed } = await this.#inTime(asked, { question, record, waiting });
      return fetched(value, resolved, collapsed);
    } catch (cause) {
      waiting.signal.throwIfAborted();
      const moved = isNotFound(cause) ? await this.#fetchMoved(question, record, waiting) : undefined;
      if (moved) return moved;
      const before = record.previous && (await this.#before(question, record, cause));
      const isTooSlow = cause instanceof TooSlow;
      const decision = failureDecision({ hasFallback: before !== undefined, isTooSlow });
      if (decision === 'serve-fallback' && before) return before;
      if (decision === 'fail') throw cause;
      const { value, collapsed } = await asked;
      return fetched(value, resolved, collapsed);
    }
  }

  /** @throws TooManyWaiters without a lookup, if too many clients wait for the upstream already; what the lookup throws. */
  async #lookUpTogether(
    question: ClientTagQuestion,
    known: TagRecord | undefined,
    waiting: Waiting,
  ): Promise<ResolvedTag> {
    const { waiters, observer } = this.#deps;
    const lookUp = (flight: Flight) => this.#lookUp(question, known, flight);
    const { value, collapsed } = await waiters.wait(question.upstream.label, () =>
      this.#flights.run(question.key, lookUp, waiting),
    );
    if (!collapsed) return value;
    observer.collapsed({ kind: 'tag' });
    return value.cache.word === 'miss' ? { ...value, cache: { ...value.cache, word: 'collapsed' } } : value;
  }

  async #lookUp(question: ClientTagQuestion, known: TagRecord | undefined, flight: Flight): Promise<ResolvedTag> {
    const { tagRecords, fallbacks } = this.#deps;
    try {
      return await this.#answerOrFallback(question, known, flight);
    } catch (cause) {
      flight.signal.throwIfAborted();
      if (isNotFound(cause)) {
        if (known) tagRecords.forget(question.repositoryId, question.tag);
        fallbacks.rememberMissing(question, cause);
      }
      throw cause;
    }
  }

  /** What the tag points to now, or a stale fallback if the upstream is too slow or fails. */
  async #answerOrFallback(
    question: ClientTagQuestion,
    known: TagRecord | undefined,
    flight: Flight,
  ): Promise<ResolvedTag> {
    const { upstream, key } = question;
    const { softTimeout, observer } = this.#deps;
    const asked = this.#lookups.lookUp(question, known, flight);
    try {
      return await softTimeout.for(asked, known ? upstream.name : `unknown tags of ${upstream.name}`, flight);
    } catch (cause) {
      flight.signal.throwIfAborted();
      const isTooSlow = cause instanceof TooSlow;
      if (isTooSlow && known) flight.lastUntil(asked);
      if (known) observer.tagRevalidated({ upstream: upstream.label, result: failedRevalidation(cause) });
      const fallback = await this.#fallback(question, { known, cause, asked }, flight);
      const decision = failureDecision({ hasFallback: fallback !== undefined, isTooSlow });
      if (decision === 'serve-fallback' && fallback) {
        if (isTooSlow) flight.lastUntil(asked);
        if (isTooSlow) this.#endFallbackAfter(asked, key);
        return fallback;
      }
      if (decision === 'fail') throw cause;
      return asked;
    }
  }

  /** The image that is cached here, or what another cache has recorded, which is not waited for if the upstream answers meanwhile. */
  async #fallback(
    question: TagQuestion,
    {
      known,
      cause,
      asked,
    }: { readonly known: TagRecord | undefined; readonly cause: unknown; readonly asked: Promise<unknown> },
    flight: Waiting,
  ): Promise<ResolvedTag | undefined> {
    const { fallbacks } = this.#deps;
    const here = known && (await fallbacks.find(question, known, cause));
    if (here || !(cause instanceof TooSlow)) return here ?? fallbacks.findElsewhere(question, cause, flight);
    const answered = new AbortController();
    const stop = () => answered.abort();
    asked.then(stop, stop);
    return fallbacks.findElsewhere(question, cause, { signal: AbortSignal.any([flight.signal, answered.signal]) });
  }

  /** Looks up a tag again after a 404 for its manifest: the tag may have moved. @returns undefined if it has not. */
  async #fetchMoved(question: TagQuestion, record: TagRecord, waiting: Waiting): Promise<FetchedTag | undefined> {
    const { waiters, manifests } = this.#deps;
    const { key, upstream, repositoryId } = question;
    // Under a key of its own: a lookup by HEAD would not bring the manifest.
    const get = () =>
      this.#flights.run(`moved ${key}`, (flight) => this.#lookups.get(question, record, flight), waiting);
    try {
      const { value } = await this.#inTime(waiters.wait(upstream.label, get), { question, record, waiting });
      const manifest = await manifests.cached(repositoryId, value.record.digest, waiting);
      return manifest && fetched(manifest, value, false);
    } catch (cause) {
      waiting.signal.throwIfAborted();
      if (isNotFound(cause) || cause instanceof UpstreamError) return undefined;
      throw cause;
    }
  }

  /** The image that the tag pointed to before, while the manifest of `record` cannot be fetched. */
  async #before(question: TagQuestion, record: TagRecord, cause: unknown): Promise<FetchedTag | undefined> {
    const { repositoryId, key } = question;
    const { manifests, fallbacks } = this.#deps;
    const late = cause instanceof TooSlow ? manifests.keepFetching(repositoryId, record.digest) : undefined;
    const fallback = await fallbacks.find(question, record, cause);
    this.#endFallbackAfter(late, key);
    const manifest = fallback && (await manifests.cached(repositoryId, fallback.record.digest));
    return manifest && { manifest, cache: fallback.cache, confirmedAtMs: record.confirmedAtMs };
  }

  /** Waits no longer than the soft timeout if there is an image to fall back to. @throws TooSlow */
  #inTime<Value>(
    asked: Promise<Value>,
    { question, record, waiting }: { question: TagQuestion; record: TagRecord; waiting: Waiting },
  ): Promise<Value> {
    return record.previous ? this.#deps.softTimeout.for(asked, question.upstream.name, waiting) : asked;
  }

  /** A late answer ends the use of the fallback. After a late failure the tag is looked up again when the fallback has expired. */
  #endFallbackAfter(late: Promise<unknown> | undefined, key: string): void {
    void late?.then(
      () => this.#deps.fallbacks.forget(key),
      () => {},
    );
  }

  /** @throws RememberedNotFound */
  #recentFallback(key: string): ResolvedTag | undefined {
    const { fallbacks } = this.#deps;
    return fallbacks.hasFailed ? fallbacks.recent(key) : undefined;
  }

  #isFresh(upstream: Upstream, key: string, record: TagRecord): boolean {
    const { policies, rateLimits, clock } = this.#deps;
    const lifetimeMs = policies.tagLifetimeMs(upstream.label, key);
    const isWithin = (freshForMs: number) => freshnessOf(record.confirmedAtMs, freshForMs, clock.now()) === 'fresh';
    return isWithin(lifetimeMs) || isWithin(lifetimeMs * rateLimits.lifetimeFactor(upstream.label));
  }
}

function failedRevalidation(cause: unknown): 'gone' | 'rate_limited' | 'error' {
  if (isNotFound(cause)) return 'gone';
  return cause instanceof UpstreamError && cause.reason === 'overloaded' ? 'rate_limited' : 'error';
}

function hit(record: TagRecord): ResolvedTag {
  return { record, cache: { word: 'hit' } };
}

/** The manifest of a stale tag is served stale, wherever it comes from. */
function fetched(manifest: CachedManifest, { record, cache }: ResolvedTag, collapsed: boolean): FetchedTag {
  const word = collapsed ? 'collapsed' : 'miss';
  const { confirmedAtMs } = record;
  return {
    manifest,
    cache: cache.word === 'stale' ? cache : { word, upstreamStatus: 200, stored: true },
    confirmedAtMs,
  };
}
