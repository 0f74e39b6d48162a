import type { Digest } from '../../oci/digest.ts';
import type { ByteSource } from './byte-source.ts';

/** Verified content of known size. */
export interface StoredBlob extends ByteSource {
  readonly size: number;
}

/** Content under its digest. Whatever `open` yields was verified on the way in. */
export interface BlobStore {
  /**
   * @param expectedSize what the link says; a file of another size is set aside, counted, and not served.
   * @returns undefined when it is not stored.
   */
  open(digest: Digest, expectedSize?: number): Promise<StoredBlob | undefined>;
  /** All bytes of a small blob (a manifest), verified again; content that does not match its name is set aside. */
  readAll(digest: Digest, maxBytes: number): Promise<Uint8Array | undefined>;
  /**
   * A place for a blob that is about to arrive. Nothing of it is visible before `commit`.
   * @param upstream the name of who sends it.
   */
  create(digest: Digest, upstream: string): Promise<IncomingBlob>;
  /**
   * What an interrupted download of the blob from this upstream left: the caller's from now on. Unverified bytes of one upstream are
   * never gone on with from another.
   * @returns undefined where there is nothing to go on with.
   */
  takeInterrupted(digest: Digest, upstream: string): Promise<InterruptedBlob | undefined>;
  /**
   * Removes what interrupted downloads left: all from before `leftBeforeMs`, and of the rest the oldest, until `bytes` are free.
   * @returns how many bytes that freed.
   */
  dropInterrupted(options: { readonly bytes: number; readonly leftBeforeMs: number }): Promise<number>;
  /** Makes `bytes` visible under `digest`, which the caller has verified. */
  put(digest: Digest, bytes: Uint8Array): Promise<void>;
  remove(digest: Digest): Promise<void>;
  /** Takes away content that is not what its name promises, and counts it. */
  setAside(digest: Digest, source: CorruptionSource): Promise<void>;
  /** Whether somebody reads it just now: such a blob is not evicted. */
  isBeingRead(digest: Digest): boolean;
  /** Everything stored, in no order. */
  list(): AsyncIterable<{ readonly digest: Digest; readonly size: number; readonly modifiedAtMs: number }>;
  /** Bytes that count against the cap though they are no visible content: downloads, running or interrupted, and what was set aside. */
  pendingBytes(): number;
  /** Those of them that {@link BlobStore.dropInterrupted} can free. */
  interruptedBytes(): number;
  /** The files that these bytes are in. */
  pendingFiles(): number;
  /** Free bytes of the disk the store is on. */
  freeBytes(): Promise<number>;
}

/** What the first bytes of an unfinished blob were when they were brought to the disk. */
export interface Mark {
  readonly bytes: number;
  /** Of these bytes. */
  readonly digest: Digest;
}

/**
 * A blob being written. The bytes can be read back by position while it grows.
 * Disposing closes the file, and removes it unless it was committed or left.
 */
export interface IncomingBlob extends AsyncDisposable {
  /** Appends; one call at a time. @throws the file system's error. */
  append(chunks: readonly Uint8Array[]): Promise<void>;
  read(into: Uint8Array, position: number): Promise<number>;
  /**
   * Brings what is appended to the disk and then notes the mark: from here on it outlives the process. It may run beside `append`,
   * one call at a time. A mark that cannot be made is reported, and the one before it stands. Never rejects.
   */
  mark(mark: Mark): Promise<void>;
  /**
   * Leaves all that is written to {@link BlobStore.takeInterrupted}, if the last mark speaks of all. It only can be read then. Never rejects.
   * @param mark is made before, without waiting for the marks of others.
   */
  leave(mark?: Mark): Promise<void>;
  /** Forgets all that is written, and its mark. @throws the file system's error; then it can only be disposed. */
  clear(): Promise<void>;
  /** fsync, rename, fsync of the folder. The caller has verified the digest. */
  commit(): Promise<void>;
}

/** What an interrupted download left. Whoever goes on with it reads it back first: no more than the mark promises is known of it. */
export interface InterruptedBlob {
  readonly incoming: IncomingBlob;
  /** Of all there is. */
  readonly mark: Mark;
}

/** Who met content that is not what its name promises: a reader, or the scrubber. */
export type CorruptionSource = 'read' | 'scrub';
