import { LRUCache } from 'lru-cache';
import type { Digest } from '../../oci/digest.ts';
import { type OciError, UpstreamError } from '../../oci/errors.ts';
import { type Descriptor, maxManifestBytes, namedBy } from '../../oci/manifest.ts';
import { loadWithin } from '../concurrency/memory-budget.ts';
import { ifAnswered } from '../ports/other-caches.ts';
import { parseManifestRecord } from '../ports/record-store.ts';
import { contentKey, type RepositoryId } from '../ports/repository-id.ts';
import { type FetchedManifest, isNotFound, type ManifestHead, type Upstream } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';
import { boundedMap, Remembered, RememberedNotFound } from '../concurrency/remembered.ts';
import { type Shared, SingleFlight } from '../concurrency/single-flight.ts';
import { ManifestWrites, type RememberedManifest } from './manifest-writes.ts';
import type { ManifestsDeps } from './manifests-deps.ts';
import { unlessUnreadable } from '../blobs/served-blob.ts';

/** A manifest that one repository is known to hold. */
export interface CachedManifest extends FetchedManifest {
  readonly firstServedAtMs: number;
}

interface Failure {
  readonly upstream: Upstream;
  readonly repositoryId: RepositoryId;
  readonly digest: Digest;
  readonly cause: unknown;
}

/**
 * Manifests by digest: memory, then the store, then what other replicas have, then the upstream; if it gives no answer, the other caches.
 * The memory is keyed by repository and digest, so a hit in it is also the link check.
 */
export class Manifests {
  readonly #deps: ManifestsDeps;
  readonly #memory: LRUCache<string, RememberedManifest>;
  /** By {@link contentKey}, from the descriptors of the manifests served from its repository. */
  readonly promisedSizes = boundedMap<string, number>(50_000);
  readonly #flights: SingleFlight<CachedManifest>;
  /** Reads from the disk. */
  readonly #reads = new SingleFlight<CachedManifest | undefined>();
  readonly #heads: SingleFlight<ManifestHead>;
  readonly #missing: Remembered<OciError>;
  readonly #writes: ManifestWrites;

  constructor(deps: ManifestsDeps) {
    this.#deps = deps;
    this.#flights = new SingleFlight(deps);
    this.#heads = new SingleFlight(deps);
    this.#missing = new Remembered({ clock: deps.clock, max: 20_000 });
    this.#memory = new LRUCache({
      maxSize: deps.memoryBytes,
      sizeCalculation: ({ bytes }) => bytes.byteLength + 512,
    });
    this.#writes = new ManifestWrites(deps, this.#memory);
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
        return this.#afterFailure({ upstream, repositoryId, digest, cause }, flight);
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
        const found = await this.#afterFailure({ upstream, repositoryId, digest, cause }, flight);
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
    const remembered = { ...manifest, repositoryId, keptAs: this.#deps.marks.next() };
    this.#remember(remembered, named);
    this.#writes.index(repositoryId, manifest, named);
    this.#deps.shared.readable?.({ repositoryId, digest: fetched.digest });
    this.#writes.write(remembered);
    return manifest;
  }

  /**
   * Writes manifests again that were removed or quarantined on the disk: they would not be fetched while they are served from memory.
   * @param since only those that were kept since this mark.
   */
  storeAgain(digests: ReadonlySet<Digest>, since = -1): void {
    for (const manifest of this.#memory.values()) {
      if (manifest.keptAs <= since || !digests.has(manifest.digest)) continue;
      this.#writes.index(manifest.repositoryId, manifest, namedBy(manifest.bytes));
      this.#writes.write(manifest);
    }
  }

  /** Forgets a manifest that was not kept since the mark. */
  forget(repositoryId: RepositoryId, digest: Digest, since = Infinity): void {
    const key = contentKey(repositoryId, digest);
    if ((this.#memory.peek(key)?.keptAs ?? 0) <= since) this.#memory.delete(key);
    this.#writes.forget(key, since);
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
    this.#remember({ ...manifest, repositoryId, keptAs: 0 }, namedBy(bytes));
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

  /** What other caches have when the upstream gives no answer. @throws the cause, if it is an answer or there is nothing. */
  async #afterFailure({ upstream, repositoryId, digest, cause }: Failure, waiting: Waiting): Promise<CachedManifest> {
    this.#rememberMissing(upstream, contentKey(repositoryId, digest), cause);
    const found = cause instanceof UpstreamError && (await this.#withoutUpstream(repositoryId, digest, waiting));
    if (!found) throw cause;
    return found;
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

  #remember(manifest: RememberedManifest, named: readonly Descriptor[]): void {
    const { repositoryId } = manifest;
    this.#memory.set(contentKey(repositoryId, manifest.digest), manifest);
    for (const { digest, size } of named) this.promisedSizes.set(contentKey(repositoryId, digest), size);
  }
}
