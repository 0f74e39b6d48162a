import { DigestMismatch, UpstreamError } from '../../oci/errors.ts';
import { StoreHangs } from '../concurrency/abortable-wait.ts';
import type { DownloadResult } from '../ports/observer.ts';

/** The disk took no more: it is full, read-only or failing. */
export class DiskFailure extends Error {
  override readonly name = 'DiskFailure';

  constructor(cause: unknown) {
    super('the download could not be written', { cause });
  }
}

/** The store is full, and nothing can be evicted. */
export class NoRoom extends Error {
  override readonly name = 'NoRoom';

  constructor() {
    super('the store has no room for the rest of the blob');
  }
}

/** How a download ended. */
export interface DownloadEnd {
  readonly result: DownloadResult;
  /** How many of the blob's bytes are here. */
  readonly bytes: number;
  readonly cause?: unknown;
}

/** What ended a transfer, in a word. Pure. */
export function resultOf(cause: unknown): Exclude<DownloadResult, 'ok'> {
  if (cause instanceof DiskFailure) return cause.cause instanceof NoRoom ? 'no_room' : 'disk_error';
  if (cause instanceof DigestMismatch) return 'digest_mismatch';
  if (!(cause instanceof UpstreamError)) return 'upstream_error';
  if (cause.reason === 'busy') return 'aborted';
  return cause.reason === 'misbehaving' ? 'short' : 'upstream_error';
}

/** Whether the disk did not refuse, but took too long. Pure. */
export function isHang(cause: unknown): boolean {
  return cause instanceof DiskFailure && cause.cause instanceof StoreHangs;
}

/** Whether other bytes came than the digest names, or another number of them. Pure. */
export function isWrong(result: DownloadResult): boolean {
  return result === 'digest_mismatch' || result === 'short';
}

/** Whether the partial download is left for the next attempt: not if it may be wrong, and not on a disk that fails. Pure. */
export function isWorthResuming(result: DownloadResult): boolean {
  return result === 'upstream_error' || result === 'aborted';
}
