import type { BlobStore } from '../ports/blob-store.ts';
import type { RecordStore } from '../ports/record-store.ts';
import type { Index, Totals } from '../ports/store-index.ts';
import { blockBytes, type DiskUse } from './disk-use.ts';

/** The size of an empty index: its write-ahead log and its tables. It is not counted. */
const emptyIndexBytes = 4 * 1024 * 1024;

export interface StoreUseDeps {
  readonly store: Pick<BlobStore, 'pendingBytes' | 'pendingFiles'>;
  readonly records: Pick<RecordStore, 'use'>;
  readonly index: Pick<Index, 'totals' | 'fileBytes'>;
}

export interface StoreUse {
  readonly totals: Totals;
  /** Bytes of content, records and the index. */
  readonly storedBytes: number;
  /** Bytes of running and partial downloads, and of the quarantine. */
  readonly pendingBytes: number;
  /** Files and folders of all of these. */
  readonly files: number;
}

/** Measures the disk use of the whole store, which `storage.maxSize` and `storage.maxFiles` bound. */
export async function measureUse({ store, records, index }: StoreUseDeps): Promise<StoreUse> {
  // Measured first: a blob that is committed meanwhile is then counted twice for a moment, but never missed.
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

/** How many files evicting everything would remove at most. */
export function evictableFiles({ manifests, blobs, records }: Totals): number {
  return manifests + blobs + records;
}

/** How many bytes evicting everything evictable would free: the most room that can be made. */
export function evictableBytes({ diskBytes, keptBytes, records }: Totals): number {
  return diskBytes - keptBytes + records * blockBytes;
}
