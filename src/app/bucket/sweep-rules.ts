import type { BucketEstimate } from '../../cluster/bucket/bucket-count.ts';

/** How often a replica looks whether a sweep is due: so much later than the upload that makes it due it may begin. */
export const checkEveryMs = 30_000;
/** An upload to the bucket that has not ended by then never will. */
export const uploadsEndWithinMs = 24 * 3_600_000;
/** A sweep that takes longer is ended: the bucket may list without an end. */
export const sweepEndsWithinMs = 6 * 3_600_000;
const sweepEveryMs = 10 * 60_000;
const longestPauseMs = 6 * 3_600_000;
/** The listing of a large bucket takes minutes, and every page of it costs a call: it takes at most this share of the time. */
const shareOfTime = 1 / 100;
/** While more is uploaded than there is room for, sweeps take at most this share of the time. */
const shareOfTimeBeyondBound = 1 / 5;
/** The bound is exceeded by this share before a sweep begins early: each removes more than the cost of its calls is worth. */
const shareOfBound = 1 / 50;

export interface SweepQuestion extends Pick<BucketEstimate, 'heldBytes' | 'uploadedBytes'> {
  readonly lastSweep: NonNullable<BucketEstimate['lastSweep']>;
  readonly maxBytes: number;
}

/**
 * Whether a bucket is to be swept now: because the last sweep was long ago, or because more was uploaded since than there was room for. Where it is
 * not known what the last sweep left, there is no room. Pure.
 */
export function sweepDue({ heldBytes, uploadedBytes, lastSweep, maxBytes }: SweepQuestion): 'uploads' | 'time' | 'no' {
  const { agoMs, tookMs } = lastSweep;
  const room = Math.max(0, maxBytes - (heldBytes ?? maxBytes));
  const isBeyondBound = uploadedBytes > Math.max(room, maxBytes * shareOfBound);
  if (isBeyondBound && agoMs >= tookMs * (1 / shareOfTimeBeyondBound - 1)) return 'uploads';
  return agoMs >= pauseAfter(tookMs) ? 'time' : 'no';
}

/** How long after a sweep that took so long the next one is due. Pure. */
export function pauseAfter(tookMs: number): number {
  return Math.min(longestPauseMs, Math.max(sweepEveryMs, tookMs / shareOfTime));
}

/** What a listing of the content of a bucket has shown so far. */
export interface ListedContents {
  /** In whole 4 KiB. */
  readonly diskBytes: number;
  /** When the content that was not used for longest was used last; Infinity when there is none. */
  readonly oldestUseMs: number;
}

/** Whether something of it is to be removed. If not, nobody needs to know what names what, and the records and manifests need not be read. Pure. */
export function mustRemoveSome(
  { diskBytes, oldestUseMs }: ListedContents,
  { maxBytes, unusedForMs, nowMs }: { readonly maxBytes: number; readonly unusedForMs: number; readonly nowMs: number },
): boolean {
  return diskBytes > maxBytes || oldestUseMs < nowMs - unusedForMs;
}
