import type { Digest } from '../../oci/digest.ts';
import type { RequestedRange } from '../../oci/range.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import type { Download } from '../downloads/download.ts';
import { DigestMismatch } from '../transfers/transfer-errors.ts';
import type { StoredBlob } from '../ports/blob-store.ts';
import type { ByteSource } from '../ports/byte-source.ts';
import type { CacheStatus } from '../ports/cache-status.ts';
import { contentKey, type RepositoryId } from '../ports/repository-id.ts';
import type { Upstream } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';
import { piecesOf, verifiedSource, withheldBytes } from '../transfers/withheld-tail.ts';

export interface BlobQuestion {
  readonly upstream: Upstream;
  readonly repositoryId: RepositoryId;
  readonly digest: Digest;
  /** The wanted part of the blob, by its size. Absent: the whole. */
  readonly partOf?: PartOf | undefined;
}

/** As {@link contentKey}. */
export function nameOf({ repositoryId, digest }: BlobQuestion): string {
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
}

/** The part of an answer that does not depend on its source. */
type Told = Pick<ServedBlob, 'cache' | 'firstServedAtMs'>;

const pieceBytes = 256 * 1024;

/** Serves a stored blob. With `onDamaged` it is hashed again while it is read, and a reader of a damaged blob is cut. */
export function storedAnswer(
  { digest }: BlobQuestion,
  stored: StoredBlob,
  {
    onDamaged,
    ...told
  }: Told & { readonly size: number | undefined; readonly onDamaged: (() => Promise<void>) | undefined },
): ServedBlob {
  const source = onDamaged ? verifyingRead(digest, stored, onDamaged) : stored;
  return { digest, source, isSequential: onDamaged !== undefined, ...told };
}

/** Serves a blob while it is downloaded. Small ones are verified first, so that a failure can still be answered with its status. */
export async function followingAnswer(
  { digest }: BlobQuestion,
  download: Download,
  { signal, ...told }: Told & Waiting,
): Promise<ServedBlob> {
  const { size } = download;
  const source = download.join();
  try {
    if (size !== undefined && size <= withheldBytes) await abortable(download.settled, signal);
  } catch (cause) {
    await source[Symbol.asyncDispose]();
    throw cause;
  }
  return { digest, size, source, isSequential: false, ...told };
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
