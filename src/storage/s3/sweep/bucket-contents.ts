import { LRUCache } from 'lru-cache';
import { MemoryShare } from '../../../mirror/concurrency/memory-budget.ts';
import type { BlobStore } from '../../../mirror/ports/blob-store.ts';
import type { Memory } from '../../../mirror/ports/memory.ts';
import type { ManifestRecord, RecordKey, RecordStore } from '../../../mirror/ports/record-store.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { algorithmOf, type Digest, digestOf } from '../../../oci/digest.ts';
import { maxManifestBytes, namedBy } from '../../../oci/manifest.ts';
import { ociManifest } from '../../../oci/media-types.ts';
import { CallRejected } from '../access/calls.ts';
import { type BucketObjects, type OpenedObject, wholeBody } from '../access/objects.ts';
import type { BucketLayout } from '../bucket-layout.ts';
import type { BucketRecords } from '../bucket-records.ts';
import { listContent } from './content-listing.ts';
import { parallel } from '../../../mirror/concurrency/parallel.ts';
import { TagsOfManifests } from './tags-of-manifests.ts';

export interface BucketContentsDeps {
  readonly objects: BucketObjects;
  readonly records: BucketRecords;
  readonly layout: BucketLayout;
  readonly memory: Memory;
}

/** Manifests that are read, and tags that are removed, at the same time. */
const readTogether = 64;
/** The share of the memory budget for the bytes of manifests that are read at the same time. */
const memoryShare = 1 / 16;
/** Most manifests are smaller. A larger one is asked for again, once its size is known. */
const firstBytes = 64 * 1024;
/** How many manifests are known to be read. Of more, one that several repositories are linked to may be read again. */
const maxRemembered = 100_000;

interface ManifestFacts {
  readonly size: number;
  readonly names: readonly Digest[];
}

/** A record that was listed, with what was read ahead for it. */
interface ListedRecord {
  readonly key: RecordKey;
  readonly value: unknown;
  /** Of its manifest; undefined if it was read before, is not to be read ahead, or is not there. */
  readonly facts: ManifestFacts | undefined;
}

type ContentStore = Pick<BlobStore, 'list' | 'readAll' | 'remove'>;
type Records = Pick<RecordStore, 'list' | 'read' | 'remove'>;

/**
 * All that a bucket holds, for its sweep: a store of content and one of records, in the form that an index is rebuilt from. Manifests
 * are read ahead, many at a time: one by one, each would take a round trip. Of a manifest only its names are kept, a thousand at most, until the next
 * record is asked for. So what is read ahead is bounded, in number and in bytes.
 */
export class BucketContents {
  readonly store: ContentStore;
  readonly records: Records;
  readonly #deps: BucketContentsDeps;
  readonly #waiting: Waiting;
  readonly #memory: Memory;
  readonly #tags: TagsOfManifests;
  /** The record that was listed last. */
  #current: ListedRecord | undefined;
  /** The sizes of manifests that were read: each is read once, however many repositories are linked to it. */
  readonly #sizes = new LRUCache<Digest, Promise<number>>({ max: maxRemembered });

  constructor(deps: BucketContentsDeps, waiting: Waiting) {
    this.#deps = deps;
    this.#waiting = waiting;
    this.#tags = new TagsOfManifests(deps, waiting);
    this.#memory = new MemoryShare(deps.memory, memoryShare);
    this.store = {
      list: () => listContent(deps, waiting),
      readAll: (digest) =>
        deps.objects.read(deps.layout.blob(digest), { ...this.#options, maxBytes: maxManifestBytes }),
      remove: (digest) => this.#removeContent(digest),
    };
    this.records = {
      list: () => this.#listRecords(),
      read: async (key) => (this.#current?.key === key ? this.#current.value : undefined),
      remove: (key) => this.#removeRecord(key),
    };
  }

  /** What a manifest names. @returns undefined when it is not there, or its bytes are not those of its digest. */
  async manifest(digest: Digest): Promise<ManifestFacts | undefined> {
    const current = this.#current;
    const isAhead = current?.key.kind === 'manifest' && current.key.digest === digest;
    return (isAhead ? current.facts : undefined) ?? this.#readManifest(digest);
  }

  /** No client waits for these. */
  get #options() {
    return { ...this.#waiting, kind: 'write' } as const;
  }

  async *#listRecords(): AsyncGenerator<RecordKey> {
    const listed = parallel(this.#recordKeys(), readTogether, ({ key, modifiedAtMs }) =>
      this.#ahead(key, modifiedAtMs),
    );
    for await (const record of listed) {
      this.#current = record;
      yield record.key;
    }
    this.#current = undefined;
  }

  async *#recordKeys(): AsyncGenerator<{ readonly key: RecordKey; readonly modifiedAtMs: number }> {
    const { objects, layout } = this.#deps;
    for await (const page of objects.list(layout.records, this.#waiting)) {
      for (const { key: name, modifiedAtMs } of page) {
        const key = layout.recordAt(name);
        if (key) yield { key, modifiedAtMs };
      }
    }
  }

  /** The links of blobs and of manifests say no more than their keys: they are not read; nor are tags, see {@link TagsOfManifests}. */
  async #ahead(key: RecordKey, modifiedAtMs: number): Promise<ListedRecord> {
    switch (key.kind) {
      case 'manifest':
        return { key, ...(await this.#manifestAhead(key.digest)) };
      case 'blob':
        return { key, value: { firstServedAtMs: modifiedAtMs }, facts: undefined };
      case 'tag':
      case 'referrers':
      case 'tag-list':
      case 'visibility':
        return { key, value: undefined, facts: undefined };
    }
  }

  async #manifestAhead(digest: Digest): Promise<Omit<ListedRecord, 'key'>> {
    const before = this.#sizes.get(digest);
    const reading = before ? undefined : this.#readManifest(digest);
    const sizeOf = before ?? Promise.resolve(reading).then((facts) => facts?.size ?? 0);
    sizeOf.catch(() => {}); // It is thrown below.
    this.#sizes.set(digest, sizeOf);
    const [facts, size] = await Promise.all([reading, sizeOf]);
    // The view does not tell media types apart, and knows the last use of the content from its listing.
    const value: ManifestRecord = { mediaType: ociManifest, size, firstServedAtMs: 0 };
    return { value, facts };
  }

  async #readManifest(digest: Digest): Promise<ManifestFacts | undefined> {
    const found = await this.#bytesWithin(digest, firstBytes);
    const bytes = typeof found === 'number' ? await this.#bytesWithin(digest, found) : found;
    const isRight = bytes instanceof Uint8Array && digestOf(bytes, algorithmOf(digest)) === digest;
    return isRight ? { size: bytes.byteLength, names: namedBy(bytes).map((child) => child.digest) } : undefined;
  }

  /**
   * The memory is reserved before the bucket is asked: a body that nobody reads would break off.
   * @returns the size, if there are more bytes; undefined if it is not there, or no manifest can be so large.
   */
  async #bytesWithin(digest: Digest, maxBytes: number): Promise<Uint8Array | number | undefined> {
    if (maxBytes > maxManifestBytes) return undefined;
    const reservation = await this.#memory.reserve(maxBytes, this.#waiting);
    using _ = { [Symbol.dispose]: () => reservation.release() };
    const opened = await this.#open(digest);
    if (!opened) return undefined;
    const { size = Infinity } = opened;
    if (size <= maxBytes) return await wholeBody(opened, this.#waiting);
    opened.body.destroy();
    return size;
  }

  /** One that the bucket refuses, such as an object in an archive, is as good as not there: the sweep goes on. */
  async #open(digest: Digest): Promise<OpenedObject | undefined> {
    const { objects, layout } = this.#deps;
    try {
      return await objects.open(layout.blob(digest), this.#options);
    } catch (cause) {
      if (cause instanceof CallRejected) return undefined;
      throw cause;
    }
  }

  /** Tags are removed before the manifest that they point at, so that a sweep that is cut off leaves none behind; and with their repository. */
  async #removeRecord(key: RecordKey): Promise<void> {
    const { records } = this.#deps;
    if (key.kind === 'manifest') {
      await this.#removeTags(await this.#tags.of(key.repositoryId, key.digest));
      this.#tags.removed(key.repositoryId, key.digest);
    }
    if (key.kind === 'tag-list') await this.#removeTags(await this.#tags.all(key.repositoryId));
    await records.remove(key, this.#waiting);
  }

  async #removeTags(tags: readonly RecordKey[]): Promise<void> {
    const { records } = this.#deps;
    for await (const _ of parallel(tags, readTogether, (tag) => records.remove(tag, this.#waiting)));
  }

  async #removeContent(digest: Digest): Promise<void> {
    const { objects, layout } = this.#deps;
    await objects.remove(layout.blob(digest), this.#waiting);
    await objects.remove(layout.used(digest), this.#waiting);
  }
}
