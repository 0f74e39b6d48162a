import type { Mark } from '../../mirror/ports.ts';
import { algorithmOf, type Digest, isDigest } from '../../oci/digest.ts';

/** A mark, and of which blob it is. */
export interface BlobMark {
  readonly blob: Digest;
  readonly mark: Mark;
}

/** Larger than any mark. */
export const maxMarkFileBytes = 1024;

export function markFileBytes({ blob, mark }: BlobMark): Uint8Array {
  return Buffer.from(JSON.stringify({ blob, ...mark }));
}

/** @returns undefined unless it is whole: then nothing is known of the file beside it. */
export function parseMarkFile(bytes: Buffer): BlobMark | undefined {
  const value = parsed(bytes);
  if (typeof value !== 'object' || value === null) return undefined;
  if (!('blob' in value && 'bytes' in value && 'digest' in value)) return undefined;
  const { blob, bytes: marked, digest } = value;
  if (!isDigest(blob) || !isDigest(digest) || algorithmOf(blob) !== algorithmOf(digest)) return undefined;
  if (typeof marked !== 'number' || !Number.isSafeInteger(marked) || marked <= 0) return undefined;
  return { blob, mark: { bytes: marked, digest } };
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
