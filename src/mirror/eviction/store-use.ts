import type { BlobStore } from '../ports/blob-store.ts';
import type { RecordStore } from '../ports/record-store.ts';
import type { Index, Totals } from '../ports/store-index.ts';
import { blockBytes, type DiskUse } from './disk-use.ts';

/** What every store takes, however little it holds: the index's write-ahead log and its empty tables. It is not counted. */
const emptyIndexBytes = 4 * 1024 * 1024;

export interface StoreUseDeps {
  readonly store: Pick<BlobStore, 'pendingBytes' | 'pendingFiles'>;
  readonly records: Pick<RecordStore, 'use'>;
  readonly index: Pick<Index, 'totals' | 'fileBytes'>;
}

export interface StoreUse {
  readonly totals: Totals;
  /** Content, records and the index. */
  readonly storedBytes: number;
  /** Of downloads, running or interrupted, and in quarantine. */
  readonly pendingBytes: number;
  /** Of all of these, with their folders. */
  readonly files: number;
}

/** What a store takes of the disk, all in all: this is what `storage.maxSize` and `storage.maxFiles` bound. */
export async function measureUse({ store, records, index }: StoreUseDeps): Promise<StoreUse> {
  // Asked first: what arrives meanwhile is then counted twice for a moment, and never not at all.
  const pending = { bytes: store.pendingBytes() + store.pendingFiles() * blockBytes, files: store.pendingFiles() };
  const [totals, indexBytes] = await Promise.all([index.totals(), index.fileBytes()]);
  const others: DiskUse = records.use();
  return {
    totals,
    storedBytes:
      totals.diskBytes + totals.records * blockBytes + others.bytes + Math.max(0, indexBytes - emptyIndexBytes),
    pendingBytes: pending.bytes,
    files: totals.manifests + totals.blobs + totals.records + others.files + pending.files,
  };
}

/** How much of it is gone with all that may be evicted: at most so much can be made room for. */
export function evictableBytes({ diskBytes, keptBytes, records }: Totals): number {
  return diskBytes - keptBytes + records * blockBytes;
}
