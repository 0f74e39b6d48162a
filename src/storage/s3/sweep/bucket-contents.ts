import type { BlobStore } from '../../../mirror/ports/blob-store.ts';
import type { RecordKey, RecordStore } from '../../../mirror/ports/record-store.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { algorithmOf, type Digest, digestOf } from '../../../oci/digest.ts';
import { maxManifestBytes } from '../../../oci/manifest.ts';
import type { ListedObject } from '../access/objects.ts';
import type { BucketLayout } from '../bucket-layout.ts';
import type { BucketObjects } from '../access/objects.ts';
import type { BucketRecords } from '../bucket-records.ts';
import { parallel } from './parallel.ts';

export interface BucketContentsDeps {
  readonly objects: BucketObjects;
  readonly records: BucketRecords;
  readonly layout: BucketLayout;
}

/** Prefixes that are listed at the same time. */
const listedTogether = 16;
/** Records and manifests that are read at the same time. */
const readTogether = 64;

type ListedContent = { readonly digest: Digest; readonly size: number; readonly modifiedAtMs: number };
type ContentStore = Pick<BlobStore, 'list' | 'readAll' | 'remove'>;
type Records = Pick<RecordStore, 'list' | 'read' | 'remove'>;

/**
 * All that a bucket holds, for its sweep: a store of content and one of records, in the form that an index is rebuilt from. What is read is read
 * ahead, many objects at a time: one by one, each would take a round trip.
 */
export class BucketContents {
  readonly store: ContentStore;
  readonly records: Records;
  readonly #deps: BucketContentsDeps;
  readonly #waiting: Waiting;
  /** What was read ahead, until it is asked for. */
  readonly #records = new Map<string, unknown>();
  readonly #manifests = new Map<Digest, Uint8Array | undefined>();

  constructor(deps: BucketContentsDeps, waiting: Waiting) {
    this.#deps = deps;
    this.#waiting = waiting;
    this.store = {
      list: () => this.#listContent(),
      readAll: (digest) => this.#readAll(digest),
      remove: (digest) => this.#removeContent(digest),
    };
    this.records = {
      list: () => this.#listRecords(),
      read: (key) => this.#readRecord(key),
      remove: (key) => deps.records.remove(key, waiting),
    };
  }

  /** Content with the time of its last use: that of its upload, unless it was read from the bucket since. */
  async *#listContent(): AsyncGenerator<ListedContent> {
    const { layout } = this.#deps;
    const prefixes = layout.contentPrefixes();
    const listed = parallel(prefixes, listedTogether, async ({ blobs, used }) => {
      const [content, uses] = await Promise.all([this.#list(blobs), this.#list(used)]);
      const usedAtMs = new Map(uses.map(({ key, modifiedAtMs }) => [key.slice(used.length), modifiedAtMs]));
      return content.map((object) => ({ ...object, usedAtMs: usedAtMs.get(object.key.slice(blobs.length)) ?? 0 }));
    });
    for await (const page of listed) {
      for (const { key, size, modifiedAtMs, usedAtMs } of page) {
        const digest = layout.digestAt(key);
        if (digest) yield { digest, size, modifiedAtMs: Math.max(modifiedAtMs, usedAtMs) };
      }
    }
  }

  async #list(prefix: string): Promise<readonly ListedObject[]> {
    return (await Array.fromAsync(this.#deps.objects.list(prefix, this.#waiting))).flat();
  }

  async *#listRecords(): AsyncGenerator<RecordKey> {
    yield* parallel(this.#recordKeys(), readTogether, async ({ key, modifiedAtMs }) => {
      await this.#readAhead(key, modifiedAtMs);
      return key;
    });
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

  /** The link of a blob says no more than its key: it is not read. */
  async #readAhead(key: RecordKey, modifiedAtMs: number): Promise<void> {
    const { records, layout } = this.#deps;
    const name = layout.record(key);
    if (key.kind === 'blob') this.#records.set(name, { firstServedAtMs: modifiedAtMs });
    if (key.kind === 'tag' || key.kind === 'manifest') this.#records.set(name, await records.read(key, this.#waiting));
    if (key.kind === 'manifest') this.#manifests.set(key.digest, await this.#manifest(key.digest));
  }

  async #readRecord(key: RecordKey): Promise<unknown> {
    const name = this.#deps.layout.record(key);
    const value = this.#records.get(name);
    this.#records.delete(name);
    return value;
  }

  async #readAll(digest: Digest): Promise<Uint8Array | undefined> {
    const bytes = this.#manifests.get(digest);
    this.#manifests.delete(digest);
    return bytes ?? this.#manifest(digest);
  }

  async #manifest(digest: Digest): Promise<Uint8Array | undefined> {
    const { objects, layout } = this.#deps;
    const bytes = await objects.read(layout.blob(digest), { ...this.#waiting, maxBytes: maxManifestBytes });
    return bytes && digestOf(bytes, algorithmOf(digest)) === digest ? bytes : undefined;
  }

  async #removeContent(digest: Digest): Promise<void> {
    const { objects, layout } = this.#deps;
    await objects.remove(layout.blob(digest), this.#waiting);
    await objects.remove(layout.used(digest), this.#waiting);
  }
}
