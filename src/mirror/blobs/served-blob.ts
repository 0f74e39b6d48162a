import type { Digest } from '../../oci/digest.ts';
import type { RequestedRange } from '../../oci/range.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import type { Download } from '../downloads/download.ts';
import type { JoinOptions } from '../transfers/suspended-tail.ts';
import type { DownloadEnd } from '../transfers/transfer-errors.ts';
import type { StoredBlob, BlobStore } from '../ports/blob-store.ts';
import type { ByteSource } from '../ports/byte-source.ts';
import type { CacheStatus } from '../ports/cache-status.ts';
import { contentKey, type RepositoryId } from '../ports/repository-id.ts';
import type { ContentQuestion } from '../ports/shared-work.ts';
import type { Upstream } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';
import { piecesOf, verifiedSource, withheldBytes } from '../transfers/withheld-tail.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { BlobRecord, RecordStore } from '../ports/record-store.ts';
import { Remembered } from '../concurrency/remembered.ts';
import { DigestMismatch, OciError, UpstreamError } from '../../oci/errors.ts';
import type { Memory } from '../ports/memory.ts';
import { type ReaderBehind, SharedBlobs } from './shared-blobs.ts';
import { usualPieceBytes } from '../transfers/shared-reads.ts';
import { BlobInMemory, type SmallBlobs } from './small-blobs.ts';

export interface BlobQuestion {
  readonly upstream: Upstream;
  readonly repositoryId: RepositoryId;
  readonly digest: Digest;
  /** The wanted part of the blob, by its size. Absent: the whole. */
  readonly partOf?: PartOf | undefined;
}

/** As {@link contentKey}. */
export function blobName({ repositoryId, digest }: ContentQuestion): string {
  return contentKey(repositoryId, digest);
}

export interface BlobHead {
  readonly size: number | undefined;
  readonly cache: CacheStatus;
  readonly firstServedAtMs: number;
}

export type PartOf = (size: number) => RequestedRange;

export interface ServedBlob {
  readonly digest: Digest;
  /** Undefined if it is not known: the answer is chunked. */
  readonly size: number | undefined;
  /** Must be disposed. */
  readonly source: ByteSource;
  /** All of it, where it is in memory. */
  readonly bytes?: Uint8Array | undefined;
  readonly cache: CacheStatus;
  /** When this repository served it first. */
  readonly firstServedAtMs: number;
  /** Whether it must be read in order from its beginning: a range is read by skipping. */
  readonly isSequential: boolean;
  /**
   * A range is answered with the whole blob (RFC 9110 §14.2): it is cached and the disk cannot read it, and a part from the upstream could
   * not be verified.
   */
  readonly ignoresRange?: true;
  /** How many bytes of it the upstream has sent: a reader may wait for later ones. Absent where it is not being downloaded. */
  readonly receivedBytes?: () => number;
  /** Resolves when that download has ended, with whether the blob is stored. Never rejects. Absent likewise. */
  readonly ended?: Promise<DownloadEnd>;
}

/** The part of an answer that does not depend on its source. */
type AnswerFacts = Pick<ServedBlob, 'cache' | 'firstServedAtMs'>;

const pieceBytes = 256 * 1024;

/** Serves a stored blob. With `onDamaged` it is hashed again while it is read, and a reader of a damaged blob is cut. */
export function storedAnswer(
  { digest }: ContentQuestion,
  stored: StoredBlob,
  {
    onDamaged,
    ...facts
  }: AnswerFacts & { readonly size: number | undefined; readonly onDamaged: (() => Promise<void>) | undefined },
): ServedBlob {
  const source = onDamaged ? verifyingRead(digest, stored, onDamaged) : stored;
  const bytes = stored instanceof BlobInMemory ? stored.bytes : undefined;
  return { digest, source, bytes, isSequential: onDamaged !== undefined, ...facts };
}

/** Serves a blob while it is downloaded. Small ones are verified first, so that a failure can still be answered with its status. */
export async function followingAnswer(
  { digest }: ContentQuestion,
  download: Download,
  { signal, mayAskForRest, ...facts }: AnswerFacts & Waiting & JoinOptions,
): Promise<ServedBlob> {
  const { size } = download;
  const source = download.join({ mayAskForRest });
  try {
    if (size !== undefined && size <= withheldBytes) await abortable(download.settled, signal);
  } catch (cause) {
    await source[Symbol.asyncDispose]();
    throw cause;
  }
  return { digest, size, source, isSequential: false, ...facts };
}

function verifyingRead(digest: Digest, stored: StoredBlob, onDamaged: () => Promise<void>): ByteSource {
  const verified = verifiedSource({ digest, pieces: piecesOf(stored, pieceBytes) });
  return {
    read: async (into, position) => {
      try {
        return await verified.read(into, position);
      } catch (cause) {
        if (cause instanceof DigestMismatch) await onDamaged();
        throw cause;
      }
    },
    [Symbol.asyncDispose]: async () => {
      await verified[Symbol.asyncDispose]();
      await stored[Symbol.asyncDispose]();
    },
  };
}

export interface StoredBlobsDeps {
  readonly store: Pick<BlobStore, 'open'> & Partial<Pick<SmallBlobs, 'inMemory'>>;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'internalError'>;
  /** For what readers of one blob share. */
  readonly memory: Memory;
}

/** After this time the disk is tried again. */
const unreadableForMs = 60_000;
const maxRemembered = 1_000;

/** Reads stored blobs from a disk that may fail. A blob that could not be read counts as missing for a while, and is downloaded again. */
export class StoredBlobs {
  readonly #deps: StoredBlobsDeps;
  /** Blobs that the disk failed to read a moment ago. */
  readonly #unreadable: Remembered<Error>;
  /** Made when the first blob is read. */
  #shared: SharedBlobs | undefined;

  constructor(deps: StoredBlobsDeps) {
    this.#deps = deps;
    this.#unreadable = new Remembered({ clock: deps.clock, max: maxRemembered });
  }

  /** The blob if its bytes are in memory, without waiting. */
  inMemory(digest: Digest, { size }: BlobRecord): BlobInMemory | undefined {
    return this.#unreadable.get(digest) ? undefined : this.#deps.store.inMemory?.(digest, size);
  }

  /** @returns undefined if the blob is not stored; `unreadable` if the disk fails to open it. */
  async open(digest: Digest, link: BlobRecord | undefined): Promise<StoredBlob | 'unreadable' | undefined> {
    if (this.#unreadable.get(digest)) return undefined;
    try {
      const stored = await this.#deps.store.open(digest, link?.size);
      if (!stored || stored instanceof BlobInMemory) return stored;
      return this.#sharing().share(digest, stored);
    } catch (cause) {
      this.#deps.observer.internalError({ part: 'blob store', cause });
      return 'unreadable';
    }
  }

  /** To be called when the blob was stored again. */
  forget(digest: Digest): void {
    this.#unreadable.forget(digest);
    this.#shared?.forget(digest);
  }

  /** The answer from a running download, with failures of the disk reported. Readers that fall behind the writer share what they read back. */
  following(served: ServedBlob, download: Download): ServedBlob {
    const source = sharingBehind(served.source, download, (own) => this.#sharing().behind(download, own));
    return this.reportingDiskFailures({ ...served, source });
  }

  #sharing(): SharedBlobs {
    this.#shared ??= new SharedBlobs(this.#deps);
    return this.#shared;
  }

  /** The same answer, with failures of the disk reported. @param options.isStored whether it is read from the store. */
  reportingDiskFailures(
    served: ServedBlob,
    { isStored }: { readonly isStored: boolean } = { isStored: false },
  ): ServedBlob {
    const tell = (cause: unknown) => {
      this.#deps.observer.internalError({ part: 'blob store', cause });
      if (isStored) this.#unreadable.remember(served.digest, new Error('unreadable', { cause }), unreadableForMs);
    };
    return { ...served, source: reportingDiskFailures(served.source, tell) };
  }
}

/** The source of a reader of a download, which shares what it reads back where it has fallen behind the writer by a whole piece. */
function sharingBehind(
  source: ByteSource,
  download: Download,
  fallBehind: (source: ByteSource) => ReaderBehind,
): ByteSource {
  let behind: ReaderBehind | undefined;
  let isDisposed = false;
  return {
    read: (into, position) => source.read(into, position),
    borrow: async (position, maxBytes) => {
      const recent = await source.borrow?.(position, maxBytes);
      const end = endOfPieces(download);
      if (recent || isDisposed || position >= end) return recent;
      behind ??= fallBehind(source);
      return behind.borrow(position, maxBytes, end);
    },
    [Symbol.asyncDispose]: async () => {
      isDisposed = true;
      behind?.[Symbol.dispose]();
      await source[Symbol.asyncDispose]();
    },
  };
}

/** Where the last whole piece ends that readers may have. */
function endOfPieces({ writtenBytes, receivedBytes, size = receivedBytes }: Download): number {
  const readable = Math.min(writtenBytes, size - withheldBytes);
  return readable - (readable % usualPieceBytes);
}

/** Runs a read. @returns undefined if the disk fails, which is reported: the upstream may be asked instead. */
export async function unlessUnreadable<Value>(
  observer: Pick<Observer, 'internalError'>,
  part: string,
  read: () => Promise<Value | undefined>,
): Promise<Value | undefined> {
  try {
    return await read();
  } catch (cause) {
    observer.internalError({ part, cause });
    return undefined;
  }
}

/** Records, where one that cannot be read counts as never written. */
export function withoutUnreadable(records: RecordStore, observer: Pick<Observer, 'internalError'>): RecordStore {
  return {
    read: (key) => unlessUnreadable(observer, 'records', () => records.read(key)),
    write: (key, value) => records.write(key, value),
    remove: (key) => records.remove(key),
    list: (which) => records.list(which),
    listOf: (repositoryId) => records.listOf(repositoryId),
    use: () => records.use(),
  };
}

/** The disk failed while cached content was sent. It counts as missing from now on, so that the next request gets it from the upstream. */
export class UnreadableContent extends UpstreamError {
  constructor(cause: unknown) {
    super('unavailable', 'the cached content could not be read', { cause });
  }
}

/**
 * A source that reports failures of the disk. The answer is then cut. What fails after the source was disposed is none: its client has left, and
 * the file is closed.
 */
export function reportingDiskFailures(source: ByteSource, report: (cause: unknown) => void): ByteSource {
  let isDisposed = false;
  const failed = (cause: unknown): never => {
    if (cause instanceof OciError || cause instanceof UpstreamError) throw cause;
    if (isDisposed) throw new UpstreamError('busy', 'the reader has left', { cause });
    report(cause);
    throw new UnreadableContent(cause);
  };
  const borrow = source.borrow?.bind(source);
  return {
    read: (into, position) => source.read(into, position).catch(failed),
    ...(borrow && { borrow: (position, maxBytes) => borrow(position, maxBytes).catch(failed) }),
    [Symbol.asyncDispose]: () => {
      isDisposed = true;
      return source[Symbol.asyncDispose]();
    },
  };
}
