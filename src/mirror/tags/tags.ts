import { UpstreamError } from '../../oci/errors.ts';
import type { Tag } from '../../oci/reference.ts';
import { type SoftTimeout, TooSlow } from '../concurrency/soft-timeout.ts';
import { TooManyWaiters, type UpstreamWaiters } from '../concurrency/upstream-waiters.ts';
import { type FreshnessPolicies, freshnessOf } from './freshness.ts';
import type { CachedManifest, Manifests } from '../manifests/manifests.ts';
import type { CacheStatus } from '../ports/cache-status.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { FetchedManifest, Upstream } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';
import { isNotFound } from './not-found.ts';
import type { RateLimits } from '../routing/rate-limits.ts';
import type { TagRecord } from '../ports/record-store.ts';
import { type Shared, SingleFlight } from '../concurrency/single-flight.ts';
import type { ResolvedTag, StandIns, TagQuestion } from './stand-ins.ts';
import { type TagBook, tagKey } from './tag-book.ts';

export interface TagsDeps {
  readonly book: TagBook;
  readonly manifests: Manifests;
  readonly standIns: StandIns;
  readonly softTimeout: SoftTimeout;
  readonly waiters: Pick<UpstreamWaiters, 'wait'>;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly policies: FreshnessPolicies;
  readonly rateLimits: Pick<RateLimits, 'lifetimeFactor'>;
}

interface Question extends TagQuestion {
  /** A client's HEAD never causes a GET unless the upstream's HEAD lacks digest or length. */
  readonly wantsBody: boolean;
}

/** What a tag means, with its manifest. */
export interface FetchedTag {
  readonly manifest: CachedManifest;
  readonly cache: CacheStatus;
  readonly confirmedAtMs: number;
}

/** Turns tags into digests: from memory while fresh, else by one shared look upstream, else stale while there is no answer. */
export class Tags {
  readonly #deps: TagsDeps;
  readonly #flights = new SingleFlight<ResolvedTag>();
  /** Not among the flights: whoever looks at a tag has what stands in for it when no answer comes. */
  readonly #moves = new SingleFlight<ResolvedTag>();
  /** Looks at tags that are known. One that takes too long goes on without its clients. */
  readonly #looks = new SingleFlight<ResolvedTag>();

  constructor(deps: TagsDeps) {
    this.#deps = deps;
  }

  /** The answer that needs no waiting: a tag in memory, within its lifetime. */
  fresh(upstream: Upstream, of: RepositoryId, tag: Tag): ResolvedTag | undefined {
    const record = this.#deps.book.remembered(of, tag);
    const key = tagKey(of, tag);
    if (!record || !this.#isFresh(upstream, key, record)) return undefined;
    return this.#deps.standIns.remembered(key) ?? { record, cache: { word: 'hit' } };
  }

  /** @throws OciError MANIFEST_UNKNOWN; UpstreamError when nothing is cached and no answer came. */
  async resolve({ upstream, of, tag, wantsBody }: Omit<Question, 'key'>, waiting: Waiting): Promise<ResolvedTag> {
    const question = { upstream, of, tag, wantsBody, key: tagKey(of, tag) };
    const known = await this.#deps.book.get(of, tag);
    const remembered = this.#deps.standIns.remembered(question.key);
    if (remembered) return remembered;
    if (known && this.#isFresh(upstream, question.key, known)) return { record: known, cache: { word: 'hit' } };

    const { value, collapsed } = await this.#lookTogether(question, known, waiting);
    if (!collapsed) return value;
    this.#deps.observer.collapsed({ kind: 'tag' });
    return value.cache.word === 'miss' ? { ...value, cache: { ...value.cache, word: 'collapsed' } } : value;
  }

  /** The manifest of a tag whose manifest is not cached. While it can't be had, the image that the tag meant before stands in for it. */
  async fetch(
    { upstream, of, tag }: Omit<TagQuestion, 'key'>,
    record: TagRecord,
    waiting: Waiting,
  ): Promise<FetchedTag> {
    const { manifests, softTimeout } = this.#deps;
    const asked = manifests.fetch(upstream, of, record.digest, waiting);
    try {
      const { value, collapsed } = await (record.previous ? softTimeout.for(asked, upstream.name, waiting) : asked);
      return fetched(value, record, collapsed);
    } catch (cause) {
      waiting.signal.throwIfAborted();
      const moved = isNotFound(cause) && (await this.#fetchMoved({ upstream, of, tag }, record, waiting));
      if (moved) return moved;
      if (!record.previous) throw cause;
      const before = await this.#before({ upstream, of, tag, key: tagKey(of, tag) }, record, cause);
      if (before) return before;
      if (!(cause instanceof TooSlow)) throw cause;
      const { value, collapsed } = await asked;
      return fetched(value, record, collapsed);
    }
  }

  /** What a tag means whose manifest is gone: it may have moved since it was looked up. @returns undefined when it has not. */
  async #fetchMoved(
    place: Omit<TagQuestion, 'key'>,
    record: TagRecord,
    waiting: Waiting,
  ): Promise<FetchedTag | undefined> {
    const question = { ...place, key: tagKey(place.of, place.tag), wantsBody: true };
    try {
      const get = () => this.#moves.run(question.key, (flight) => this.#get(question, record, flight), waiting);
      const asked = this.#deps.waiters.wait(place.upstream.label, get);
      const { value } = await (record.previous
        ? this.#deps.softTimeout.for(asked, place.upstream.name, waiting)
        : asked);
      const manifest = await this.#deps.manifests.cached(place.of, value.record.digest, waiting);
      return manifest && fetched(manifest, value.record, false);
    } catch (cause) {
      waiting.signal.throwIfAborted();
      if (isNotFound(cause) || cause instanceof UpstreamError || cause instanceof TooSlow) return undefined;
      throw cause;
    }
  }

  async #before(question: TagQuestion, record: TagRecord, cause: unknown): Promise<FetchedTag | undefined> {
    const { of, key } = question;
    const { manifests, standIns } = this.#deps;
    const late = cause instanceof TooSlow ? manifests.goOn(of, record.digest) : undefined;
    const standIn = await standIns.find(question, record, cause);
    void late?.then(
      () => standIns.forget(key),
      () => {}, // It is asked for again when the stand-in has had its time.
    );
    const manifest = standIn && (await manifests.cached(of, standIn.record.digest));
    return manifest && { manifest, cache: standIn.cache, confirmedAtMs: record.confirmedAtMs };
  }

  #isFresh(upstream: Upstream, key: string, record: TagRecord): boolean {
    const { policies, rateLimits, clock } = this.#deps;
    const lifetimeMs = policies.tagLifetimeMs(upstream.label, key) * rateLimits.lifetimeFactor(upstream.label);
    return freshnessOf(record.confirmedAtMs, lifetimeMs, clock.now()) === 'fresh';
  }

  /** One look for all who ask. Where too many wait for the upstream, an older image is served as it is while the upstream is slow. */
  async #lookTogether(
    question: Question,
    known: TagRecord | undefined,
    waiting: Waiting,
  ): Promise<Shared<ResolvedTag>> {
    const { waiters, standIns } = this.#deps;
    const look = () => this.#flights.run(question.key, (flight) => this.#look(question, known, flight), waiting);
    try {
      return await waiters.wait(question.upstream.label, look);
    } catch (cause) {
      if (!known || !(cause instanceof TooManyWaiters)) throw cause;
      const standIn = await standIns.find(question, known, cause);
      if (!standIn) throw cause;
      return { value: standIn, collapsed: false };
    }
  }

  async #look(question: Question, known: TagRecord | undefined, waiting: Waiting): Promise<ResolvedTag> {
    try {
      return await (known ? this.#confirm(question, known, waiting) : this.#first(question, waiting));
    } catch (cause) {
      waiting.signal.throwIfAborted();
      if (isNotFound(cause)) {
        if (known) this.#deps.book.forget(question.of, question.tag);
        this.#deps.standIns.rememberMissing(question, cause);
      }
      throw cause;
    }
  }

  /** What the upstream says of a known tag; while it says nothing, what stands in for it. */
  async #confirm(question: Question, known: TagRecord, waiting: Waiting): Promise<ResolvedTag> {
    const { upstream, key } = question;
    const { softTimeout, standIns, observer } = this.#deps;
    const asked = this.#looks.run(key, (look) => this.#revalidate(question, known, look), waiting);
    try {
      return (await softTimeout.for(asked, upstream.name, waiting)).value;
    } catch (cause) {
      waiting.signal.throwIfAborted();
      const late = cause instanceof TooSlow ? this.#looks.goOn(key) : undefined;
      observer.tagRevalidated({ upstream: upstream.label, result: isNotFound(cause) ? 'gone' : 'error' });
      const standIn = await standIns.find(question, known, cause);
      void late?.then(
        () => standIns.forget(key),
        () => {}, // It is asked again when the stand-in has had its time.
      );
      if (standIn) return standIn;
      if (cause instanceof TooSlow) return (await asked).value;
      throw cause;
    }
  }

  /** One HEAD. The digest moved, or it did not; the manifest itself is fetched by whoever wants it. */
  async #revalidate(question: Question, known: TagRecord, waiting: Waiting): Promise<ResolvedTag> {
    const { upstream, of, tag } = question;
    const { digest, mediaType, size, fetched } = await upstream.headManifest(of.repository, tag, waiting);
    if (fetched && fetched.digest !== known.digest) return this.#keep(question, known, fetched);
    if (digest === undefined) return this.#get(question, known, waiting);
    if (digest === known.digest)
      return this.#note(question, { ...known, confirmedAtMs: this.#deps.clock.now() }, known);
    if (mediaType === undefined || size === undefined) return this.#get(question, known, waiting);
    return this.#note(question, this.#record({ digest, mediaType, size }, known), known);
  }

  async #first(question: Question, waiting: Waiting): Promise<ResolvedTag> {
    if (question.wantsBody) return this.#get(question, undefined, waiting);
    const { upstream, of, tag } = question;
    const { digest, mediaType, size, fetched } = await upstream.headManifest(of.repository, tag, waiting);
    if (fetched) return this.#keep(question, undefined, fetched);
    if (digest === undefined || mediaType === undefined || size === undefined)
      return this.#get(question, undefined, waiting);
    return this.#note(question, this.#record({ digest, mediaType, size }, undefined), undefined);
  }

  async #get(question: Question, known: TagRecord | undefined, waiting: Waiting): Promise<ResolvedTag> {
    const { upstream, of, tag } = question;
    return this.#keep(question, known, await upstream.getManifest(of.repository, tag, waiting));
  }

  #keep(question: Question, known: TagRecord | undefined, fetched: FetchedManifest): ResolvedTag {
    const { digest, mediaType, bytes } = this.#deps.manifests.keep(question.of, fetched);
    const resolved = this.#note(question, this.#record({ digest, mediaType, size: bytes.byteLength }, known), known);
    return { ...resolved, cache: { word: 'miss', upstreamStatus: 200, stored: true } };
  }

  #record(found: Pick<TagRecord, 'digest' | 'mediaType' | 'size'>, known: TagRecord | undefined): TagRecord {
    const previous = known?.digest === found.digest ? known.previous : known?.digest;
    return {
      digest: found.digest,
      mediaType: found.mediaType,
      size: found.size,
      confirmedAtMs: this.#deps.clock.now(),
      ...(previous && { previous }),
    };
  }

  #note({ upstream, of, tag, key }: Question, record: TagRecord, known: TagRecord | undefined): ResolvedTag {
    this.#deps.book.put(of, tag, record);
    this.#deps.standIns.forget(key);
    const same = known?.digest === record.digest;
    if (known)
      this.#deps.observer.tagRevalidated({ upstream: upstream.label, result: same ? 'not_modified' : 'changed' });
    return { record, cache: { word: same ? 'revalidated' : 'miss', upstreamStatus: 200 } };
  }
}

function fetched(manifest: CachedManifest, { confirmedAtMs }: TagRecord, collapsed: boolean): FetchedTag {
  const cache: CacheStatus = { word: collapsed ? 'collapsed' : 'miss', upstreamStatus: 200, stored: true };
  return { manifest, cache, confirmedAtMs };
}
