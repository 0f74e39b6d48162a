import type { Digest } from '../../oci/digest.ts';
import type { ByteSource } from './byte-source.ts';

/** Verified content of known size. */
export interface StoredBlob extends ByteSource {
  readonly size: number;
}

/** Content by digest. Everything that `open` returns was verified before it was stored. */
export interface BlobStore {
  /**
   * @param expectedSize the size that the link names; a file of another size is put into quarantine, counted, and not served.
   * @returns undefined when it is not stored.
   */
  open(digest: Digest, expectedSize?: number): Promise<StoredBlob | undefined>;
  /** All bytes of a small blob (a manifest), verified again; content that does not match its name is put into quarantine. */
  readAll(digest: Digest, maxBytes: number): Promise<Uint8Array | undefined>;
  /**
   * Begins to store a blob. Nothing of it is visible before `commit`.
   * @param upstream the name of the upstream that sends it.
   */
  create(digest: Digest, upstream: string): Promise<IncomingBlob>;
  /**
   * Takes the partial download of the blob from this upstream; the caller owns it from then on. A partial download is never resumed from
   * another upstream.
   * @returns undefined when there is none.
   */
  takePartial(digest: Digest, upstream: string): Promise<PartialDownload | undefined>;
  /**
   * Removes partial downloads: all that were left before `leftBeforeMs`, then the oldest of the rest, until `bytes` are free.
   * @returns how many bytes that freed.
   */
  dropPartial(options: { readonly bytes: number; readonly leftBeforeMs: number }): Promise<number>;
  /** Makes `bytes` visible under `digest`, which the caller has verified. */
  put(digest: Digest, bytes: Uint8Array): Promise<void>;
  remove(digest: Digest): Promise<void>;
  /** Puts content that does not match its digest into quarantine, and counts it. */
  quarantine(digest: Digest, source: CorruptionSource): Promise<void>;
  /** Whether it is being read: such a blob is not evicted. */
  isBeingRead(digest: Digest): boolean;
  /** Everything stored, or what has digests whose hex begins with these two characters, in no order. */
  list(which?: {
    readonly startingWith: string;
  }): AsyncIterable<{ readonly digest: Digest; readonly size: number; readonly modifiedAtMs: number }>;
  /** Bytes that count against the bound but are not visible content: running and partial downloads, and quarantine. */
  pendingBytes(): number;
  /** The part of `pendingBytes` that {@link BlobStore.dropPartial} can free. */
  partialBytes(): number;
  /** How many files hold these bytes. */
  pendingFiles(): number;
  /** What is free on the disk the store is on. */
  freeSpace(): Promise<FreeSpace>;
}

/** What may still be written to a disk. */
export interface FreeSpace {
  readonly bytes: number;
  /** Size of the disk, where it is known. */
  readonly sizeBytes?: number;
  /** Files and folders that may still be made, and that there are with them; undefined where the disk sets no limit. */
  readonly inodes?: { readonly free: number; readonly all: number };
}

/** A checkpoint of an unfinished blob: which of its first bytes have been synced to the disk. */
export interface Checkpoint {
  readonly bytes: number;
  /** Of these bytes. */
  readonly digest: Digest;
}

/**
 * A blob being written. The bytes can be read back by position while it grows.
 * Disposing closes the file, and removes it unless it was committed, or left as a partial download.
 */
export interface IncomingBlob extends AsyncDisposable {
  /** Appends; one call at a time. @throws the file system's error. */
  append(chunks: readonly Uint8Array[]): Promise<void>;
  read(into: Uint8Array, position: number): Promise<number>;
  /**
   * Syncs what is appended to the disk and then writes the checkpoint: from here on these bytes outlive the process. It may run beside
   * `append`, one call at a time. A checkpoint that cannot be written is reported, and the one before it stands. Never rejects.
   */
  checkpoint(checkpoint: Checkpoint): Promise<void>;
  /**
   * Leaves all that is written to {@link BlobStore.takePartial}, if the last checkpoint covers all of it. From then on it can only be
   * read. Never rejects.
   * @param checkpoint a checkpoint to write first, ahead of the checkpoints of other downloads.
   */
  leave(checkpoint?: Checkpoint): Promise<void>;
  /** Drops all that is written, and its checkpoint. @throws the file system's error; then it can only be disposed. */
  clear(): Promise<void>;
  /** fsync, rename, fsync of the folder. The caller has verified the digest. */
  commit(): Promise<void>;
}

/** A partial download. Before resuming, its bytes must be read back and hashed: only what the checkpoint covers is known to be on the disk. */
export interface PartialDownload {
  readonly incoming: IncomingBlob;
  /** Covers all of its bytes. */
  readonly checkpoint: Checkpoint;
}

/** What found content that does not match its digest: a read, or the scrubber. */
export type CorruptionSource = 'read' | 'scrub';

/** No space or no inodes, a quota that is used up, mounted read-only. */
const refusals: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT', 'EROFS']);

/**
 * Whether the disk accepts no writes now but may later, without a restart: stored content is served, and nothing is added. Any other error
 * at start (EACCES, ENOTDIR …) is a mistake in the set-up, and ends the start.
 */
export function refusesForNow(error: unknown): boolean {
  return error instanceof Error && 'code' in error && refusals.has(error.code);
}
