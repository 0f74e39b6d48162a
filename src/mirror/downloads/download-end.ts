import { UpstreamError } from '../../oci/errors.ts';
import { DigestMismatch } from '../transfers/held-back.ts';
import { NoRoom } from './room.ts';
import type { DownloadResult } from '../ports/observer.ts';

export interface DownloadEnd {
  readonly result: DownloadResult;
  readonly bytes: number;
  readonly cause?: unknown;
}

/** The disk took no more: full, read-only or failing. */
export class DiskFailure extends Error {
  override readonly name = 'DiskFailure';

  constructor(cause: unknown) {
    super('the download could not be written', { cause });
  }
}

/** What ended a download, in a word. Pure. */
export function resultOf(cause: unknown): Exclude<DownloadResult, 'ok'> {
  if (cause instanceof DiskFailure) return cause.cause instanceof NoRoom ? 'no_room' : 'disk_error';
  if (cause instanceof DigestMismatch) return 'digest_mismatch';
  if (!(cause instanceof UpstreamError)) return 'upstream_error';
  if (cause.trouble === 'busy') return 'aborted';
  return cause.trouble === 'misbehaving' ? 'short' : 'upstream_error';
}

/** Whether other bytes came than the digest names, or another number of them. Pure. */
export function isWrong(result: DownloadResult): boolean {
  return result === 'digest_mismatch' || result === 'short';
}

/** Whether what has arrived is left to the next attempt: not where it may be wrong, and not on a disk that fails. Pure. */
export function isWorthGoingOn(result: DownloadResult): boolean {
  return result === 'upstream_error' || result === 'aborted';
}
