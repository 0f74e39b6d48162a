import type { BlobStore, FreeSpace } from '../ports/blob-store.ts';
import type { Clock } from '../ports/clock.ts';
import { blockBytes, type DiskUse, type RecordStore } from '../ports/record-store.ts';
import type { Index, Totals } from '../ports/store-index.ts';

/** What the store may take of the disk. */
export interface SpaceLimits {
  readonly maxBytes: number;
  readonly minFreeBytes: number;
  /** Files and folders. */
  readonly maxFiles: number;
}

export interface StoreMeterDeps {
  readonly store: Pick<BlobStore, 'pendingBytes' | 'pendingFiles' | 'freeSpace'>;
  readonly records: Pick<RecordStore, 'use'>;
  readonly index: Pick<Index, 'totals' | 'fileBytes'>;
  readonly clock: Clock;
  readonly limits: SpaceLimits;
}

/** How much room is missing for a write, and how much must be freed for it. */
export interface Shortage {
  /** What evicting everything would free. */
  readonly evictable: DiskUse;
  readonly shortBytes: number;
  /** Less than `shortBytes` while removed files do not show as free yet. */
  readonly bytesNeeded: number;
  readonly filesNeeded: number;
  /** The part of `filesNeeded` that the disk itself is short of, also because of other programs. */
  readonly inodesNeeded: number;
  readonly measured: Measured;
}

interface Measured {
  /** Free and used. */
  readonly togetherBytes: number;
  readonly nowMs: number;
}

/** A blob and the record of its link. */
const filesOfBlob = 2;

/** Measures the disk use of the store against its limits. */
export class StoreMeter {
  readonly #deps: StoreMeterDeps;
  readonly #freedLately = new FreedLately();

  constructor(deps: StoreMeterDeps) {
    this.#deps = deps;
  }

  /** What the store uses of the disk now. */
  async use(): Promise<DiskUse> {
    const { storedBytes, pendingBytes, files } = await measureUse(this.#deps, () => 0);
    return { bytes: storedBytes + pendingBytes, files };
  }

  /** @param promised bytes that are reserved for running downloads and not written yet. */
  async shortage(wantedBytes: number, promised: () => number): Promise<Shortage> {
    const { store, limits, clock } = this.#deps;
    const [{ totals, others, storedBytes, pendingBytes, promisedBytes, files }, { bytes: freeBytes, inodes }] =
      await Promise.all([measureUse(this.#deps, promised), store.freeSpace()]);
    const use = { storedBytes, pendingBytes: pendingBytes + promisedBytes, freeBytes: freeBytes - promisedBytes };
    const measured = { togetherBytes: freeBytes + storedBytes + pendingBytes, nowMs: clock.monotonicMs() };
    const soonFree = use.freeBytes + this.#freedLately.unshownBytes(measured);
    const inodesNeeded = inodesToFree(inodes);
    return {
      evictable: evictableUse(totals, others),
      shortBytes: bytesToFree(use, limits, wantedBytes),
      bytesNeeded: bytesToFree({ ...use, freeBytes: soonFree }, limits, wantedBytes),
      filesNeeded: Math.max(0, files + (wantedBytes > 0 ? filesOfBlob : 0) - limits.maxFiles, inodesNeeded),
      inodesNeeded,
      measured,
    };
  }

  /** Notes that `bytes` were removed after `measured`. */
  freed(bytes: number, measured: Measured): void {
    this.#freedLately.note(bytes, measured);
  }
}

/**
 * What evicting everything would free. The records that no index counts leave with their repositories, and so do the folders: their bytes
 * count, but not their inodes, of which a disk may have very few. Pure.
 */
function evictableUse(totals: Totals, others: DiskUse): DiskUse {
  const { diskBytes, keptBytes, records, manifests, blobs } = totals;
  return { bytes: diskBytes - keptBytes + records * blockBytes + others.bytes, files: manifests + blobs + records };
}

export interface SpaceUse {
  /** Visible content, records, and the index. */
  readonly storedBytes: number;
  /** Arriving, promised to arrive, and in quarantine. */
  readonly pendingBytes: number;
  readonly freeBytes: number;
}

/** How many bytes must be freed before `wantedBytes` more may be written; 0 when there is room. Pure. */
export function bytesToFree(
  { storedBytes, pendingBytes, freeBytes }: SpaceUse,
  limits: SpaceLimits,
  wantedBytes: number,
): number {
  const overCap = storedBytes + pendingBytes + wantedBytes - limits.maxBytes;
  const underFree = limits.minFreeBytes + wantedBytes - freeBytes;
  return Math.max(0, overCap, underFree);
}

/** Inodes that stay free, for writes in progress and for other programs. */
const reservedInodes = 1_000;
const reservedShare = 1 / 20;

/** How many files must be removed so that new ones can be made; 0 on a disk without a limit. Pure. */
export function inodesToFree(inodes: FreeSpace['inodes']): number {
  if (!inodes) return 0;
  return Math.max(0, Math.ceil(Math.min(reservedInodes, inodes.all * reservedShare)) - inodes.free);
}

/** The size of an empty index: its write-ahead log and its tables. It is not counted. */
const emptyIndexBytes = 4 * 1024 * 1024;

interface StoreUse {
  readonly totals: Totals;
  /** Of folders, and of records that no index counts. */
  readonly others: DiskUse;
  /** Bytes of content, records and the index. */
  readonly storedBytes: number;
  /** Bytes of running and partial downloads, and of the quarantine. */
  readonly pendingBytes: number;
  /** Reserved for running downloads and not written yet. */
  readonly promisedBytes: number;
  /** Files and folders of all of these. */
  readonly files: number;
}

/** A blob of this size that is committed meanwhile is worth another measurement. */
const largeBytes = 1024 * 1024;
const mostMeasurements = 3;

/**
 * Measures the disk use of the whole store, which `storage.maxSize` and `storage.maxFiles` bound. A blob that is committed during a measurement
 * is counted twice by it, but never missed: for a large one it is made again, or as much would be evicted without need.
 */
async function measureUse(deps: StoreMeterDeps, promised: () => number): Promise<StoreUse> {
  const arriving = () => ({ pendingBytes: deps.store.pendingBytes(), promisedBytes: promised() });
  for (let measurement = 1; ; measurement += 1) {
    const before = arriving();
    const use = await measureOnce(deps, before);
    const isSettled = bytesOf(before) - bytesOf(arriving()) < largeBytes;
    if (isSettled || measurement === mostMeasurements) return use;
  }
}

type Arriving = Pick<StoreUse, 'pendingBytes' | 'promisedBytes'>;

function bytesOf({ pendingBytes, promisedBytes }: Arriving): number {
  return pendingBytes + promisedBytes;
}

async function measureOnce({ store, records, index }: StoreMeterDeps, arriving: Arriving): Promise<StoreUse> {
  const { pendingBytes, promisedBytes } = arriving;
  const pendingFiles = store.pendingFiles();
  const [totals, indexBytes] = await Promise.all([index.totals(), index.fileBytes()]);
  const others: DiskUse = records.use();
  return {
    totals,
    others,
    storedBytes:
      totals.diskBytes + totals.records * blockBytes + others.bytes + Math.max(0, indexBytes - emptyIndexBytes),
    pendingBytes: pendingBytes + pendingFiles * blockBytes,
    promisedBytes,
    files: totals.manifests + totals.blobs + totals.records + others.files + pendingFiles,
  };
}

/** By then a file system shows removed files as free space, or another program has taken it. */
const shownWithinMs = 60_000;

/**
 * Bytes that were removed from the store lately and do not show as free space yet: ZFS, btrfs and XFS free the space of a removed file
 * seconds later. Without this, eviction would remove more and more meanwhile, until the store is empty.
 *
 * Once all of it shows, free and used bytes together are as many as before.
 */
class FreedLately {
  #bytes = 0;
  #beforeBytes = 0;
  #sinceMs = -Infinity;

  /** @param measured before the bytes were removed. */
  note(bytes: number, { togetherBytes, nowMs }: Measured): void {
    if (nowMs - this.#sinceMs >= shownWithinMs) {
      this.#bytes = 0;
      this.#beforeBytes = togetherBytes;
      this.#sinceMs = nowMs;
    }
    this.#bytes += bytes;
  }

  /** Bytes that do not show yet. If less than half is missing it counts as none: records and partly filled blocks make such a difference. */
  unshownBytes({ togetherBytes, nowMs }: Measured): number {
    if (nowMs - this.#sinceMs >= shownWithinMs) return 0;
    const missingBytes = Math.min(this.#bytes, this.#beforeBytes - togetherBytes);
    return missingBytes > this.#bytes / 2 ? missingBytes : 0;
  }
}
