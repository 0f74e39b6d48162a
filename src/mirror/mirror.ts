import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Digest, isDigest } from '../oci/digest.ts';
import { UpstreamError } from '../oci/errors.ts';
import { isRepository, parseHostName, type Reference, type Tag } from '../oci/reference.ts';
import type { Descriptor } from '../oci/manifest.ts';
import type { MediaType } from '../oci/media-types.ts';
import type { Access } from './access/access.ts';
import type { Blobs } from './blobs/blobs.ts';
import type { BlobHead, BlobQuestion, PartOf, ServedBlob } from './blobs/served-blob.ts';
import type { HeldContent } from './held-content.ts';
import type { Listings, PartOfCatalog, WantedPartOfCatalog } from './listings/listings.ts';
import type { Listed, ListedWhole } from './listings/cached-listings.ts';
import type { TagPage, WantedPage } from './listings/tag-names.ts';
import type { CachedManifest, Manifests } from './manifests/manifests.ts';
import type { CacheStatus } from './ports/cache-status.ts';
import type { Clock } from './ports/clock.ts';
import type { Observer } from './ports/observer.ts';
import { type BlobRedirects, ifAnswered } from './ports/other-caches.ts';
import type { RepositoryId } from './ports/repository-id.ts';
import type { Index } from './ports/store-index.ts';
import type { Upstream } from './ports/upstream.ts';
import type { Waiting } from './ports/waiting.ts';
import type { RefreshedTag, Tags } from './tags/tags.ts';
import {
  chooseUpstream,
  type UpstreamChoice,
  type UpstreamChoiceDeps,
  type UpstreamHints,
} from './routing/upstream-choice.ts';

export interface MirrorDeps {
  readonly choice: UpstreamChoiceDeps;
  readonly access: Access;
  readonly tags: Tags;
  readonly manifests: Manifests;
  readonly blobs: Blobs;
  readonly listings: Listings;
  readonly held: HeldContent;
  readonly redirects: BlobRedirects;
  readonly index: Index;
  readonly clock: Clock;
  readonly observer: Observer;
}

/** Names that are checked in one turn of the event loop. */
const catalogPage = 200;
/** How long a catalog waits for the index to be complete. */
const rebuiltWithinMs = 2_000;

/** The upstream and repository that a request names. Access is not checked yet. */
export interface LocatedRepository {
  readonly upstream: Upstream;
  readonly repositoryId: RepositoryId;
}

export interface ServedManifest {
  readonly digest: Digest;
  readonly mediaType: MediaType;
  readonly size: number;
  /** Undefined for a HEAD of a manifest that is not cached. */
  readonly bytes: Uint8Array | undefined;
  readonly cache: CacheStatus;
  /** When the upstream last confirmed the tag, or first served the digest. */
  readonly confirmedAtMs: number;
}

/** The verbs of the mirror: everything that `http` may call. */
export class Mirror {
  #deps: MirrorDeps;

  constructor(deps: MirrorDeps) {
    this.#deps = deps;
  }

  /** Replaces the upstreams and rules. Running requests continue with the old ones. */
  follow(deps: MirrorDeps): void {
    this.#deps = deps;
  }

  /** What siblings may read here, under the rules of now. */
  get held(): HeldContent {
    return this.#deps.held;
  }

  /** @throws OciError NAME_UNKNOWN, NAME_INVALID */
  locate(hints: UpstreamHints): LocatedRepository {
    const { upstream, repository }: UpstreamChoice = chooseUpstream(hints, this.#deps.choice);
    return { upstream, repositoryId: { upstream: upstream.name, repository } };
  }

  /** A promise only if something must be waited for. @throws also at once, what the promise would reject with. */
  manifest(
    located: LocatedRepository,
    reference: Reference,
    isHead: boolean,
    waiting: Waiting,
  ): Promise<ServedManifest> | ServedManifest {
    const checking = this.#check(located, reference, waiting);
    const atHand = checking ? undefined : this.#manifestAtHand(located, reference);
    if (atHand) return this.#counted(located, atHand);
    return this.#lookedUpManifest(located, { reference, isHead, checking }, waiting);
  }

  async #lookedUpManifest(
    located: LocatedRepository,
    { reference, isHead, checking }: { reference: Reference; isHead: boolean; checking: Promise<void> | void },
    waiting: Waiting,
  ): Promise<ServedManifest> {
    await checking;
    const served = isDigest(reference)
      ? await this.#byDigest(located, reference, isHead, waiting)
      : await this.#byTag(located, { tag: reference, isHead }, waiting);
    return this.#counted(located, served);
  }

  #counted({ upstream }: LocatedRepository, served: ServedManifest): ServedManifest {
    const { word, reason = 'unknown' } = served.cache;
    if (word === 'collapsed') this.#deps.observer.collapsed({ kind: 'manifest' });
    if (word === 'stale') this.#deps.observer.servedStale({ upstream: upstream.label, reason });
    return served;
  }

  /** What a cached tag points to now, by the upstream; for operators. @returns undefined for a tag that is not cached. */
  refresh(located: LocatedRepository, tag: Tag, waiting: Waiting): Promise<RefreshedTag | undefined> {
    return this.#deps.tags.refresh({ ...located, tag }, waiting);
  }

  /** A promise unless its bytes are in memory, as of {@link manifest}. @param partOf the part that the client wants, given the size. */
  blob(
    located: LocatedRepository,
    digest: Digest,
    waiting: Waiting,
    partOf?: PartOf,
  ): Promise<ServedBlob> | ServedBlob {
    const { blobs } = this.#deps;
    const question = { ...questionOf(located, digest), partOf };
    const checking = this.#check(located, undefined, waiting);
    return (
      checking?.then(() => blobs.open(question, waiting)) ?? blobs.inMemory(question) ?? blobs.open(question, waiting)
    );
  }

  /**
   * Where the client is to read a blob that is not here, if clients are redirected: only blobs of repositories that anyone may read upstream,
   * since anyone who has the URL can read the blob.
   * @returns undefined, or a promise of it, if it is to be served from here.
   */
  blobUrl(located: LocatedRepository, digest: Digest, waiting: Waiting): Promise<string | undefined> | undefined {
    return this.#deps.redirects.isOn ? this.#urlUnlessHeld(located, digest, waiting) : undefined;
  }

  async #urlUnlessHeld(located: LocatedRepository, digest: Digest, waiting: Waiting): Promise<string | undefined> {
    const { redirects, access, blobs } = this.#deps;
    await this.#check(located, undefined, waiting);
    const { repositoryId, upstream } = located;
    if (!(await access.mayBeRedirected(repositoryId, upstream.label))) return undefined;
    const held = await blobs.held.open({ repositoryId, digest }, { signal: waiting.signal, atOnce: true });
    await held?.source[Symbol.asyncDispose]();
    return held ? undefined : ifAnswered(() => redirects.urlFor(repositoryId, digest, waiting), waiting);
  }

  async blobHead(located: LocatedRepository, digest: Digest, waiting: Waiting): Promise<BlobHead> {
    await this.#check(located, undefined, waiting);
    return this.#deps.blobs.head(questionOf(located, digest), waiting);
  }

  /** Tags after `last` in lexical order, at most `limit`. */
  async tagList(located: LocatedRepository, page: WantedPage, waiting: Waiting): Promise<Listed<TagPage>> {
    await this.#check(located, undefined, waiting);
    return this.#deps.listings.tagPage(located.upstream, located.repositoryId, page, waiting);
  }

  async referrers(
    located: LocatedRepository,
    digest: Digest,
    waiting: Waiting,
  ): Promise<ListedWhole<readonly Descriptor[]>> {
    await this.#check(located, digest, waiting);
    const { upstream, repositoryId } = located;
    const { listing, ...more } = await this.#deps.listings.referrers(upstream, repositoryId, digest, waiting);
    return { ...more, listing: listing.referrers };
  }

  /**
   * Names of cached repositories that every client may read, in lexical order, at most `limit`; after `mostMs`, fewer.
   * @throws UpstreamError unavailable while the index may lack some; the signal's reason when it aborts.
   */
  async catalog({ last, limit, mostMs = Infinity }: WantedPartOfCatalog, { signal }: Waiting): Promise<PartOfCatalog> {
    const names: string[] = [];
    const endsAtMs = this.#deps.clock.monotonicMs() + mostMs;
    const isOver = () => names.length >= limit || this.#deps.clock.monotonicMs() >= endsAtMs;
    for (let after = last; limit > 0; ) {
      const page = await this.#repositoriesAfter(after, { signal });
      for (const name of page) {
        if (await this.mayBeListed(name)) names.push(name);
        if (isOver()) return { names, lookedTo: name };
      }
      if (page.length < catalogPage) return { names, lookedTo: undefined };
      after = page.at(-1);
      await nextTurn(); // The index is synchronous: without a new turn no signal could abort.
      signal.throwIfAborted();
    }
    return { names, lookedTo: last };
  }

  /** A page of the catalog. Waits a moment for a rebuild of the index to end. */
  async #repositoriesAfter(last: string | undefined, { signal }: Waiting): Promise<readonly string[]> {
    const { index } = this.#deps;
    const soon = AbortSignal.any([signal, AbortSignal.timeout(rebuiltWithinMs)]);
    await index.whenComplete({ signal: soon }).catch(() => signal.throwIfAborted());
    const page = await index.repositories({ last, limit: catalogPage });
    if (page && (await index.isComplete())) return page;
    const message = 'which repositories are cached is not known: the index is being rebuilt, or Redis is away';
    throw new UpstreamError('unavailable', message, { retryAfterSeconds: 5 });
  }

  /** Whether every client may know of a repository, `<upstream>/<repository>`, by the last verdict. No upstream is asked. */
  mayBeListed(name: string): Promise<boolean> {
    const slash = name.indexOf('/');
    const host = parseHostName(name.slice(0, slash));
    const upstream = host && this.#deps.choice.upstreams.find(host);
    const repository = name.slice(slash + 1);
    if (!upstream || !isRepository(repository)) return Promise.resolve(false);
    return this.#deps.access.mayBeListed({ upstream: upstream.name, repository }, upstream.label);
  }

  #check(
    { upstream, repositoryId }: LocatedRepository,
    reference: Reference | undefined,
    waiting: Waiting,
  ): Promise<void> | void {
    return this.#deps.access.check({ upstream, repositoryId, reference }, waiting);
  }

  /** What is in memory: a digest, or a tag within its lifetime. @throws RememberedNotFound */
  #manifestAtHand({ upstream, repositoryId }: LocatedRepository, reference: Reference): ServedManifest | undefined {
    const { tags, manifests } = this.#deps;
    if (isDigest(reference)) {
      const manifest = manifests.remembered(repositoryId, reference);
      return manifest && served(manifest, { word: 'hit' }, manifest.firstServedAtMs);
    }
    const fresh = tags.fresh(upstream, repositoryId, reference);
    const manifest = fresh && manifests.remembered(repositoryId, fresh.record.digest);
    return manifest && served(manifest, fresh.cache, fresh.record.confirmedAtMs);
  }

  async #byTag(
    { upstream, repositoryId }: LocatedRepository,
    { tag, isHead }: { tag: Exclude<Reference, Digest>; isHead: boolean },
    waiting: Waiting,
  ): Promise<ServedManifest> {
    const { tags, manifests } = this.#deps;
    const { record, cache } = await tags.resolve({ upstream, repositoryId, tag, wantsBody: !isHead }, waiting);
    const manifest = await manifests.cached(repositoryId, record.digest, waiting);
    if (manifest) return served(manifest, cache, record.confirmedAtMs);
    if (isHead) {
      const { digest, mediaType, size, confirmedAtMs } = record;
      return { digest, mediaType, size, bytes: undefined, cache, confirmedAtMs };
    }
    const fetched = await tags.fetch({ upstream, repositoryId, tag }, { record, cache }, waiting);
    return served(fetched.manifest, fetched.cache, fetched.confirmedAtMs);
  }

  async #byDigest(
    { upstream, repositoryId }: LocatedRepository,
    digest: Digest,
    isHead: boolean,
    waiting: Waiting,
  ): Promise<ServedManifest> {
    const { manifests } = this.#deps;
    const cached = await manifests.cached(repositoryId, digest, waiting);
    if (cached) return served(cached, { word: 'hit' }, cached.firstServedAtMs);
    const head = isHead ? await manifests.head(upstream, repositoryId, digest, waiting) : undefined;
    if (head?.value.mediaType !== undefined && head.value.size !== undefined) {
      const { mediaType, size } = head.value;
      const cache: CacheStatus = { word: head.collapsed ? 'collapsed' : 'miss', upstreamStatus: 200 };
      return { digest, mediaType, size, bytes: undefined, cache, confirmedAtMs: this.#deps.clock.now() };
    }
    const fetched = await manifests.fetch(upstream, repositoryId, digest, waiting);
    return served(fetched.value, fetchedStatus(fetched.collapsed), fetched.value.firstServedAtMs);
  }
}

function served(
  { digest, mediaType, bytes }: CachedManifest,
  cache: CacheStatus,
  confirmedAtMs: number,
): ServedManifest {
  return { digest, mediaType, size: bytes.byteLength, bytes, cache, confirmedAtMs };
}

function fetchedStatus(collapsed: boolean): CacheStatus {
  return { word: collapsed ? 'collapsed' : 'miss', upstreamStatus: 200, stored: true };
}

function questionOf({ upstream, repositoryId }: LocatedRepository, digest: Digest): BlobQuestion {
  return { upstream, repositoryId, digest };
}
