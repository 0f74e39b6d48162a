import { LRUCache } from 'lru-cache';
import type { Digest } from '../../oci/digest.ts';
import type { BlobStore, StoredBlob } from '../ports/blob-store.ts';

export interface SmallBlobsDeps {
  readonly store: Pick<BlobStore, 'open' | 'readAll'>;
  /** Bound on the bytes in memory. */
  readonly maxBytes: number;
}

/** Larger blobs are read from the disk for each client. Configs and attestations are smaller, and every pull asks for them. */
export const maxSmallBytes = 16 * 1024;
/** What an entry takes beside its bytes. */
const entryBytes = 512;

/** A stored blob whose bytes are in memory. Reading it never fails. */
export class BlobInMemory implements StoredBlob {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get size(): number {
    return this.bytes.byteLength;
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    const piece = this.bytes.subarray(position, position + into.byteLength);
    into.set(piece);
    return piece.byteLength;
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/**
 * Keeps small blobs in memory that were read lately. From the disk, a blob of 4 KiB takes four calls of other threads, which cost more than the
 * rest of the answer. What is in memory was verified when it was read.
 */
export class SmallBlobs {
  readonly #deps: SmallBlobsDeps;
  readonly #kept: LRUCache<Digest, BlobInMemory>;
  #removals = 0;

  constructor(deps: SmallBlobsDeps) {
    this.#deps = deps;
    this.#kept = new LRUCache({ maxSize: deps.maxBytes, sizeCalculation: ({ size }) => size + entryBytes });
  }

  /** The blob if it is in memory, without waiting. */
  inMemory(digest: Digest, expectedSize?: number): BlobInMemory | undefined {
    const kept = this.#kept.get(digest);
    return kept && (expectedSize ?? kept.size) === kept.size ? kept : undefined;
  }

  /** As {@link BlobStore.open}. */
  async open(digest: Digest, expectedSize?: number): Promise<StoredBlob | undefined> {
    const kept = this.inMemory(digest, expectedSize);
    if (kept) return kept;
    const removalsBefore = this.#removals;
    const stored = await this.#deps.store.open(digest, expectedSize);
    if (!stored || stored.size > maxSmallBytes) return stored;
    await stored[Symbol.asyncDispose]();
    const bytes = await this.#deps.store.readAll(digest, maxSmallBytes);
    if (!bytes) return undefined;
    const blob = new BlobInMemory(bytes);
    // It may be one that was removed while it was read.
    if (this.#removals === removalsBefore) this.#kept.set(digest, blob);
    return blob;
  }

  /** To be called when the blob was removed from the store. */
  forget(digest: Digest): void {
    this.#removals += 1;
    this.#kept.delete(digest);
  }
}
