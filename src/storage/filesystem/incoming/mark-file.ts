import type { Mark } from '../../../mirror/ports/blob-store.ts';
import { algorithmOf, type Digest, isDigest } from '../../../oci/digest.ts';
import { parseJsonObject } from '../../../oci/json.ts';

/** Whose download of which blob. */
export interface DownloadOf {
  readonly blob: Digest;
  /** The name of the upstream that sent it. */
  readonly upstream: string;
}

/** A mark, and of what it is. */
export interface BlobMark extends DownloadOf {
  readonly mark: Mark;
}

/** Larger than any mark. */
export const maxMarkFileBytes = 1024;

export function markFileBytes({ blob, upstream, mark }: BlobMark): Uint8Array {
  return Buffer.from(JSON.stringify({ blob, upstream, ...mark }));
}

/** @returns undefined unless it is whole: then nothing is known of the file beside it. */
export function parseMarkFile(bytes: Buffer): BlobMark | undefined {
  const { blob, upstream, bytes: marked, digest } = parseJsonObject(bytes) ?? {};
  if (typeof upstream !== 'string') return undefined;
  if (!isDigest(blob) || !isDigest(digest) || algorithmOf(blob) !== algorithmOf(digest)) return undefined;
  if (typeof marked !== 'number' || !Number.isSafeInteger(marked) || marked <= 0) return undefined;
  return { blob, upstream, mark: { bytes: marked, digest } };
}
