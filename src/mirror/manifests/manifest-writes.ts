import type { LRUCache } from 'lru-cache';
import type { Digest } from '../../oci/digest.ts';
import { type Descriptor, imageFactsOf, namedBy } from '../../oci/manifest.ts';
import { Postponed } from '../concurrency/background.ts';
import { boundedMap } from '../concurrency/remembered.ts';
import type { ManifestRecord } from '../ports/record-store.ts';
import { contentKey, type RepositoryId } from '../ports/repository-id.ts';
import type { FetchedManifest } from '../ports/upstream.ts';
import type { ManifestsDeps } from './manifests-deps.ts';

/** A manifest in memory. */
export interface RememberedManifest extends FetchedManifest {
  readonly firstServedAtMs: number;
  readonly repositoryId: RepositoryId;
  /** 0 if it was read from the disk. */
  readonly keptAs: number;
}

/** What is to be written of a manifest, apart from its bytes. */
interface Unwritten {
  readonly record: ManifestRecord;
  readonly keptAs: number;
}

/** As many as {@link Background} retries. */
const mostUnwritten = 10_000;

/** Writes manifests to the index and, in the background, from memory to the store. Memory may drop one before it is written. */
export class ManifestWrites {
  readonly #deps: ManifestsDeps;
  /** By {@link contentKey}. */
  readonly #memory: Pick<LRUCache<string, RememberedManifest>, 'peek' | 'values'>;
  /** By {@link contentKey}, until they are written or removed. */
  readonly #unwritten = boundedMap<string, Unwritten>(mostUnwritten);

  constructor(deps: ManifestsDeps, memory: Pick<LRUCache<string, RememberedManifest>, 'peek' | 'values'>) {
    this.#deps = deps;
    this.#memory = memory;
  }

  /** It was removed, and is not written unless it was kept since the mark. */
  forget(key: string, since: number): void {
    if ((this.#unwritten.peek(key)?.keptAs ?? 0) <= since) this.#unwritten.delete(key);
  }

  /**
   * The index knows the manifest before the store does: its client asks at once for what it names, and old bytes that it names must not
   * be evicted as unused while the record is being written.
   */
  index(
    repositoryId: RepositoryId,
    manifest: Omit<RememberedManifest, 'repositoryId' | 'keptAs'>,
    named: readonly Descriptor[],
  ): void {
    const { index } = this.#deps;
    const { digest, mediaType, firstServedAtMs } = manifest;
    const size = manifest.bytes.byteLength;
    const names = named.map((child) => child.digest);
    const image = imageFactsOf(size, named, mediaType);
    index.recordContent({ digest, size, isManifest: true, names, usedAtMs: firstServedAtMs, image });
    index.recordLink({ repositoryId, kind: 'manifest', digest, mediaType, size, usedAtMs: firstServedAtMs });
  }

  /** Writes it in the background, and retries until the disk takes it. */
  write({ repositoryId, digest, mediaType, bytes, firstServedAtMs, keptAs }: RememberedManifest): void {
    const record = { mediaType, size: bytes.byteLength, firstServedAtMs };
    this.#unwritten.set(contentKey(repositoryId, digest), { record, keptAs });
    void this.#deps.background.retryUntilWritten('manifest store', `manifest ${contentKey(repositoryId, digest)}`, () =>
      this.#persist(repositoryId, digest),
    );
  }

  /** Content first, then the record that makes it servable. */
  async #persist(repositoryId: RepositoryId, digest: Digest): Promise<void> {
    const { store, index, makeRoom } = this.#deps;
    const hasRoom = await makeRoom(); // The manifest counts already, and may be evicted itself.
    if (!hasRoom && !(await index.isComplete()))
      throw new Postponed('free room is not known until the index is rebuilt');
    const manifest = this.#memory.peek(contentKey(repositoryId, digest));
    if (!manifest) return this.#settle(repositoryId, digest);
    const { mediaType, firstServedAtMs } = manifest;
    await store.put(digest, manifest.bytes);
    await this.#writeRecord(repositoryId, digest, { mediaType, size: manifest.bytes.byteLength, firstServedAtMs });
    const isDropped = this.#memory.peek(contentKey(repositoryId, digest)) === undefined;
    if (isDropped) await this.#settle(repositoryId, digest, manifest);
  }

  async #writeRecord(repositoryId: RepositoryId, digest: Digest, record: ManifestRecord): Promise<void> {
    const { records, observer, shared } = this.#deps;
    const { mediaType, size } = record;
    const key = { kind: 'manifest', repositoryId, digest } as const;
    const isKnown = (await records.read(key)) !== undefined;
    await records.write(key, record);
    this.#unwritten.delete(contentKey(repositoryId, digest));
    observer.contentStored({ kind: 'manifest', bytes: size });
    if (!isKnown) observer.imageStored({ repositoryId, manifest: { digest, mediaType, size } });
    shared.stored?.({ repositoryId, digest });
  }

  /**
   * Not in memory any more before or while it was written. What was removed is counted as far as the disk has it, and else forgotten. What
   * memory had no room for gets its record if another repository stores the content; else the next pull stores it.
   */
  #settle(repositoryId: RepositoryId, digest: Digest, written?: RememberedManifest): Promise<void> {
    return this.#deps.forgetIfMissing({ kind: 'manifest', repositoryId, digest }, async () => {
      await using stored = await this.#deps.store.open(digest);
      const unwritten = this.#unwritten.peek(contentKey(repositoryId, digest));
      if (stored && written) this.index(repositoryId, written, namedBy(written.bytes));
      else if (stored && unwritten) await this.#writeRecord(repositoryId, digest, unwritten.record);
      const isInMemory = this.#memory.values().some((other) => other.digest === digest);
      if (!stored && unwritten && isInMemory) throw new Postponed('another repository is about to store the content');
      return !stored && !isInMemory;
    });
  }
}
