import type { Checkpoint } from '../../../mirror/ports/blob-store.ts';
import { algorithmOf, type Digest, isDigest } from '../../../oci/digest.ts';
import { parseJsonObject } from '../../../oci/json.ts';

/** A download: which blob, from which upstream. */
export interface DownloadOf {
  readonly blob: Digest;
  /** The name of the upstream that sent it. */
  readonly upstream: string;
}

/** A checkpoint, with the download that it belongs to. */
export interface BlobCheckpoint extends DownloadOf {
  readonly checkpoint: Checkpoint;
}

/** A bound on the size of a checkpoint file. */
export const maxCheckpointFileBytes = 1024;

export function checkpointFileBytes({ blob, upstream, checkpoint }: BlobCheckpoint): Uint8Array {
  return Buffer.from(JSON.stringify({ blob, upstream, ...checkpoint }));
}

/** @returns undefined if it is not a valid checkpoint file: the file beside it is then worthless. */
export function parseCheckpointFile(bytes: Buffer): BlobCheckpoint | undefined {
  const { blob, upstream, bytes: covered, digest } = parseJsonObject(bytes) ?? {};
  if (typeof upstream !== 'string') return undefined;
  if (!isDigest(blob) || !isDigest(digest) || algorithmOf(blob) !== algorithmOf(digest)) return undefined;
  if (typeof covered !== 'number' || !Number.isSafeInteger(covered) || covered <= 0) return undefined;
  return { blob, upstream, checkpoint: { bytes: covered, digest } };
}
