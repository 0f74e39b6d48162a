import { LRUCache } from 'lru-cache';
import type { Digest } from '../../oci/digest.ts';
import { type OciError, UpstreamError } from '../../oci/errors.ts';
import { type Descriptor, imageFactsOf, maxManifestBytes, namedBy } from '../../oci/manifest.ts';
import { loadWithin } from '../concurrency/memory-budget.ts';
import type { UpstreamWaiters } from '../concurrency/upstream-waiters.ts';
import { type Background, Postponed } from '../concurrency/background.ts';
import type { FreshnessPolicies } from '../tags/freshness.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import type { Clock } from '../ports/clock.ts';
import type { Memory } from '../ports/memory.ts';
import type { Observer } from '../ports/observer.ts';
import { ifAnswered, type OtherCache } from '../ports/other-caches.ts';
import { parseManifestRecord, type RecordStore } from '../ports/record-store.ts';
import { contentKey, type RepositoryId } from '../ports/repository-id.ts';
import type { SharedWork } from '../ports/shared-work.ts';
import type { Index } from '../ports/store-index.ts';
import { type FetchedManifest, isNotFound, type ManifestHead, type Upstream } from '../ports/upstream.ts';
import type { SharedWorkTracing } from '../ports/tracing.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { BorrowedLinks } from '../access/links.ts';
import type { Space } from '../eviction/space.ts';
import { Remembered, RememberedNotFound } from '../concurrency/remembered.ts';
import { type Shared, SingleFlight } from '../concurrency/single-flight.ts';
import { unlessUnreadable } from '../blobs/served-blob.ts';

/** A manifest that one repository is known to hold. */
export interface CachedManifest extends FetchedManifest {
  readonly firstServedAtMs: number;
}

export interface ManifestsDeps {
  readonly store: BlobStore;
  readonly records: RecordStore;
  readonly index: Index;
  readonly borrowedLinks: Pick<BorrowedLinks, 'linkFor'>;
  readonly background: Background;
  readonly waiters: Pick<UpstreamWaiters, 'wait'>;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly memoryBytes: number;
  /** For manifests that are being loaded. */
  readonly memory: Memory;
  /** Evicts until the store, including what is indexed but not stored yet, is below its bound. @returns whether it is. */
  readonly makeRoom: () => Promise<boolean>;
  /** Lets the index and the records forget content that is missing, while nothing else is evicted. */
  readonly forgetIfMissing: Space['forgetIfMissing'];
  readonly policies: FreshnessPolicies;
  readonly shared: Pick<SharedWork, 'manifest' | 'readable' | 'stored'>;
  /** Asked when the upstream gives no answer. */
  readonly caches: Pick<OtherCache, 'manifest'>;
  readonly tracing?: SharedWorkTracing | undefined;
}

/**
 * Manifests by digest: memory, then the store, then what other replicas have, then the upstream; if it gives no answer, the other caches.
 * The memory is keyed by repository and digest, so a hit in it is also the link check.
 */
export class Manifests {
  readonly #deps: ManifestsDeps;
  readonly #memory: LRUCache<string, CachedManifest & { readonly repositoryId: RepositoryId }>;
  /** By {@link contentKey}, from the descriptors of the manifests served from its repository. */
  readonly promisedSizes = new LRUCache<string, number>({ max: 50_000 });
  readonly #flights: SingleFlight<CachedManifest>;
  /** Reads from the disk. */
  readonly #reads = new SingleFlight<CachedManifest | undefined>();
  readonly #heads: SingleFlight<ManifestHead>;
  readonly #missing: Remembered<OciError>;

  constructor(deps: ManifestsDeps) {
    this.#deps = deps;
    this.#flights = new SingleFlight(deps);
    this.#heads = new SingleFlight(deps);
    this.#missing = new Remembered({ clock: deps.clock, max: 20_000 });
    this.#memory = new LRUCache({
      maxSize: deps.memoryBytes,
      sizeCalculation: ({ bytes }) => bytes.byteLength + 512,
    });
  }

  /** The manifest if it is in memory, without waiting. */
  remembered(repositoryId: RepositoryId, digest: Digest): CachedManifest | undefined {
    const manifest = this.#memory.get(contentKey(repositoryId, digest));
    if (manifest) this.#recordUse(repositoryId, digest);
    return manifest;
  }

  /** The manifest if it is cached and this repository has it. A large one waits for memory. */
  async cached(
    repositoryId: RepositoryId,
    digest: Digest,
    { signal = new AbortController().signal }: Partial<Waiting> = {},
  ): Promise<CachedManifest | undefined> {
    const key = contentKey(repositoryId, digest);
    const read = (flight: Waiting) => this.#linked(repositoryId, digest, flight);
    const manifest =
      this.remembered(repositoryId, digest) ??
      (await this.#reads.run(key, read, { signal })).value ??
      // Skipped after a recent 404: the response time would reveal what other repositories hold.
      (this.#missing.get(key) ? undefined : await this.#borrowed(repositoryId, digest, { signal }));
    if (manifest) this.#recordUse(repositoryId, digest);
    return manifest;
  }

  /** Fetches the manifest from the upstream, once for all concurrent callers, and stores it. */
  async fetch(
    upstream: Upstream,
    repositoryId: RepositoryId,
    digest: Digest,
    waiting: Waiting,
  ): Promise<Shared<CachedManifest>> {
    // Another fetch may have ended while this caller read the disk.
    const fetched = this.remembered(repositoryId, digest);
    if (fetched) return { value: fetched, collapsed: true };
    this.#throwIfMissing(repositoryId, digest);
    const ask = async (flight: Waiting) => {
      try {
        const fromUpstream = (waiting: Waiting) => upstream.getManifest(repositoryId.repository, digest, waiting);
        const found = await this.#deps.shared.manifest?.({ repositoryId, digest }, fromUpstream, flight);
        return this.keep(repositoryId, found ?? (await fromUpstream(flight)));
      } catch (cause) {
        this.#rememberMissing(upstream, contentKey(repositoryId, digest), cause);
        const found = cause instanceof UpstreamError && (await this.#withoutUpstream(repositoryId, digest, flight));
        if (!found) throw cause;
        return found;
      }
    };
    return this.#deps.waiters.wait(upstream.label, () =>
      this.#flights.run(contentKey(repositoryId, digest), ask, waiting),
    );
  }

  /** Joins a running fetch. @returns undefined if none runs. @throws as the fetch does. */
  async joinFetch(repositoryId: RepositoryId, digest: Digest, waiting: Waiting): Promise<CachedManifest | undefined> {
    return (await this.#flights.join(contentKey(repositoryId, digest), waiting))?.value;
  }

  /** Lets a running fetch end by itself, also when all its clients leave. @returns undefined if none runs. */
  keepFetching(repositoryId: RepositoryId, digest: Digest): Promise<CachedManifest> | undefined {
    return this.#flights.keepRunning(contentKey(repositoryId, digest));
  }

  /** The upstream's answer to HEAD, requested once for all concurrent callers. */
  async head(
    upstream: Upstream,
    repositoryId: RepositoryId,
    digest: Digest,
    waiting: Waiting,
  ): Promise<Shared<ManifestHead>> {
    this.#throwIfMissing(repositoryId, digest);
    const ask = async (flight: Waiting) => {
      try {
        const head = await upstream.headManifest(repositoryId.repository, digest, flight);
        if (head.fetched) this.keep(repositoryId, head.fetched);
        return head;
      } catch (cause) {
        this.#rememberMissing(upstream, contentKey(repositoryId, digest), cause);
        const found = cause instanceof UpstreamError && (await this.#withoutUpstream(repositoryId, digest, flight));
        if (!found) throw cause;
        return { digest, mediaType: found.mediaType, size: found.bytes.byteLength };
      }
    };
    return this.#deps.waiters.wait(upstream.label, () =>
      this.#heads.run(contentKey(repositoryId, digest), ask, waiting),
    );
  }

  /** Caches a verified manifest in memory, and stores it in the background. */
  keep(repositoryId: RepositoryId, fetched: FetchedManifest): CachedManifest {
    const manifest = { ...fetched, firstServedAtMs: this.#deps.clock.now() };
    const named = namedBy(manifest.bytes);
    this.#remember(repositoryId, manifest, named);
    this.#record(repositoryId, manifest, named);
    this.#deps.shared.readable?.({ repositoryId, digest: fetched.digest });
    this.#store(repositoryId, fetched.digest);
    return manifest;
  }

  /** Writes a manifest again that was quarantined on the disk: it would not be fetched while it is served from memory. */
  storeAgain(digest: Digest): void {
    for (const manifest of this.#memory.values()) {
      if (manifest.digest !== digest) continue;
      this.#record(manifest.repositoryId, manifest, namedBy(manifest.bytes));
      this.#store(manifest.repositoryId, digest);
    }
  }

  forget(repositoryId: RepositoryId, digest: Digest): void {
    this.#memory.delete(contentKey(repositoryId, digest));
  }

  #recordUse(repositoryId: RepositoryId, digest: Digest): void {
    const { index, clock, shared } = this.#deps;
    index.recordUse(digest, clock.now());
    index.recordRepositoryUse(repositoryId, clock.now());
    shared.readable?.({ repositoryId, digest });
  }

  async #linked(repositoryId: RepositoryId, digest: Digest, waiting: Waiting): Promise<CachedManifest | undefined> {
    const record = parseManifestRecord(await this.#deps.records.read({ kind: 'manifest', repositoryId, digest }));
    const bytes = record && (await this.#stored(digest, record.size, waiting));
    if (!bytes) return undefined;
    const { mediaType, firstServedAtMs } = record;
    const manifest = { digest, bytes, mediaType, firstServedAtMs };
    this.#remember(repositoryId, manifest, namedBy(bytes));
    return manifest;
  }

  /** A child of an index that this repository serves, stored through another repository of the same upstream. */
  async #borrowed(repositoryId: RepositoryId, digest: Digest, waiting: Waiting): Promise<CachedManifest | undefined> {
    const link = await this.#deps.borrowedLinks.linkFor(repositoryId, digest, 'manifest');
    if (link?.mediaType === undefined) return undefined;
    const bytes = await this.#stored(digest, link.size ?? maxManifestBytes, waiting);
    return bytes && this.keep(repositoryId, { digest, bytes, mediaType: link.mediaType });
  }

  #stored(digest: Digest, size: number, waiting: Waiting): Promise<Uint8Array | undefined> {
    const { store, observer, memory } = this.#deps;
    const read = () => store.readAll(digest, maxManifestBytes);
    return loadWithin(memory, size, waiting, () => unlessUnreadable(observer, 'manifest store', read));
  }

  /** The manifest while the upstream gives no answer. A rebuild is waited for: until then links that can be borrowed may not be known. */
  async #withoutUpstream(
    repositoryId: RepositoryId,
    digest: Digest,
    waiting: Waiting,
  ): Promise<CachedManifest | undefined> {
    const { caches, index } = this.#deps;
    const found = await ifAnswered(() => caches.manifest(repositoryId, digest, waiting), waiting);
    if (found) return this.keep(repositoryId, found);
    await index.whenComplete(waiting);
    return this.#borrowed(repositoryId, digest, waiting);
  }

  #throwIfMissing(repositoryId: RepositoryId, digest: Digest): void {
    const missing = this.#missing.get(contentKey(repositoryId, digest));
    if (missing) throw new RememberedNotFound(missing);
  }

  #rememberMissing(upstream: Upstream, key: string, cause: unknown): void {
    if (!isNotFound(cause)) return;
    this.#missing.remember(key, cause, this.#deps.policies.rulesOf(upstream.label).missingMs);
  }

  #remember(repositoryId: RepositoryId, manifest: CachedManifest, named: readonly Descriptor[]): void {
    this.#memory.set(contentKey(repositoryId, manifest.digest), { ...manifest, repositoryId });
    for (const { digest, size } of named) this.promisedSizes.set(contentKey(repositoryId, digest), size);
  }

  /**
   * The index knows the manifest before the store does: its client asks at once for what it names, and old bytes that it names must not
   * be evicted as unused while the record is being written.
   */
  #record(repositoryId: RepositoryId, manifest: CachedManifest, named: readonly Descriptor[]): void {
    const { index } = this.#deps;
    const { digest, mediaType, firstServedAtMs } = manifest;
    const size = manifest.bytes.byteLength;
    const names = named.map((child) => child.digest);
    const image = imageFactsOf(size, named, mediaType);
    index.recordContent({ digest, size, isManifest: true, names, usedAtMs: firstServedAtMs, image });
    index.recordLink({ repositoryId, kind: 'manifest', digest, mediaType, size });
  }

  #store(repositoryId: RepositoryId, digest: Digest): void {
    void this.#deps.background.retryUntilWritten('manifest store', `manifest ${contentKey(repositoryId, digest)}`, () =>
      this.#persist(repositoryId, digest),
    );
  }

  /** Content first, then the record that makes it servable. A manifest that memory has dropped meanwhile is stored by the next pull. */
  async #persist(repositoryId: RepositoryId, digest: Digest): Promise<void> {
    const { store, records, index, observer, makeRoom, shared } = this.#deps;
    const hasRoom = await makeRoom(); // The manifest counts already, and may be evicted itself.
    if (!hasRoom && !(await index.isComplete()))
      throw new Postponed('free room is not known until the index is rebuilt');
    const manifest = this.#memory.peek(contentKey(repositoryId, digest));
    if (!manifest) return this.#settle(repositoryId, digest);
    const { mediaType, firstServedAtMs } = manifest;
    const size = manifest.bytes.byteLength;
    const key = { kind: 'manifest', repositoryId, digest } as const;
    await store.put(digest, manifest.bytes);
    const isKnown = (await records.read(key)) !== undefined;
    await records.write(key, { mediaType, size, firstServedAtMs });
    observer.contentStored({ kind: 'manifest', bytes: size });
    if (!isKnown) observer.imageStored({ repositoryId, manifest: { digest, mediaType, size } });
    shared.stored?.({ repositoryId, digest });
    const isDropped = this.#memory.peek(contentKey(repositoryId, digest)) === undefined;
    if (isDropped) await this.#settle(repositoryId, digest, manifest);
  }

  /** Evicted or purged before or while it was written: what the disk has is counted, what it has not is forgotten. */
  #settle(repositoryId: RepositoryId, digest: Digest, written?: CachedManifest): Promise<void> {
    return this.#deps.forgetIfMissing({ kind: 'manifest', repositoryId, digest }, async () => {
      await using stored = await this.#deps.store.open(digest);
      if (stored && written) this.#record(repositoryId, written, namedBy(written.bytes));
      return !stored && !this.#memory.values().some((other) => other.digest === digest); // Which is about to be written.
    });
  }
}
