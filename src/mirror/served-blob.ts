import { type Digest, digestOf } from '../oci/digest.ts';
import { OciError, UpstreamError } from '../oci/errors.ts';
import type { SatisfiableRange } from '../oci/range.ts';
import { abortable } from './concurrency/abortable-wait.ts';
import type { Download } from './download.ts';
import { isWrong, resultOf } from './download-end.ts';
import { DigestMismatch, heldBackBytes } from './held-back.ts';
import type { ByteSource, CacheStatus, OpenedBlob, RepositoryId, StoredBlob, Upstream, Waiting } from './ports.ts';
import { type ResumeRules, resumedPieces } from './resumed-pieces.ts';
import { piecesOf, unverifiedSource, verifiedSource } from './verified-source.ts';

export interface BlobQuestion {
  readonly upstream: Upstream;
  readonly of: RepositoryId;
  readonly digest: Digest;
}

export interface ServedBlob {
  readonly digest: Digest;
  /** Undefined while nobody knows: the answer is chunked. */
  readonly size: number | undefined;
  /** Must be disposed. */
  readonly source: ByteSource;
  readonly cache: CacheStatus;
  /** Since when this repository serves it. */
  readonly firstServedAtMs: number;
  /** Positions must follow each other from the beginning: a range is read by skipping. */
  readonly isSequential: boolean;
  /** A source of its own for a range far ahead of a running download; undefined where following the download is better. */
  readonly relayAhead?: (range: SatisfiableRange, waiting: Waiting) => Promise<ByteSource | undefined>;
}

/** What an answer says of itself, whatever its source. */
type Told = Pick<ServedBlob, 'cache' | 'firstServedAtMs'>;

/** A range this small … */
const maxRelayedBytes = 8 * 1024 * 1024;
/** … that starts this far ahead of the writer is asked for on its own (lazy pulling: nydus, estargz, zstd:chunked). */
const minRelayedAheadBytes = 64 * 1024 * 1024;
const pieceBytes = 256 * 1024;

/** Whether a range of a running download follows the writer, or is relayed from the upstream beside it. Pure. */
export function rangeOfRunning(range: SatisfiableRange, writtenBytes: number): 'follow' | 'relay' {
  const isSmall = range.end - range.start + 1 <= maxRelayedBytes;
  return !range.isOpenEnded && isSmall && range.start - writtenBytes > minRelayedAheadBytes ? 'relay' : 'follow';
}

/** A blob out of the store. With `onDamaged` it is hashed again on its way; a reader that meets damage is cut, not lied to. */
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

/** A blob along with its running download. Small ones, and the empty one, are verified first: they can still fail honestly. */
export async function followingAnswer(
  question: BlobQuestion,
  download: Download,
  { signal, resume, ...told }: Told & Waiting & { readonly resume: ResumeRules },
): Promise<ServedBlob> {
  const { digest } = question;
  const { size } = download;
  const source = download.join();
  try {
    if (size !== undefined && size <= heldBackBytes) await abortable(download.settled, signal);
  } catch (cause) {
    await source[Symbol.asyncDispose]();
    throw cause;
  }
  return { digest, size, source, isSequential: false, ...told, relayAhead: aheadOf(question, download, resume) };
}

/** A blob that is not stored: from an upstream answer of its own, verified as it passes. */
export function relayedAnswer(
  { upstream, of, digest }: BlobQuestion,
  opened: OpenedBlob,
  { signal, resume, ...told }: Told & Waiting & { readonly resume: ResumeRules },
): ServedBlob {
  const { size } = opened;
  const openAt = (start: number) => upstream.openBlob(of.repository, digest, { signal, range: { start } });
  const pieces = resumedPieces({ ...resume, from: 0, first: opened, openAt, size, signal });
  const empty = digestOf(new Uint8Array(), digest.startsWith('sha512') ? 'sha512' : 'sha256');
  const onWrong = () => upstream.failedVerification(digest);
  if (size === 0 && digest !== empty) {
    onWrong();
    throw new DigestMismatch(digest, empty);
  }
  const source = closing(opened, tellingOfWrong(verifiedSource({ digest, pieces }), onWrong));
  return { digest, size, source, isSequential: true, ...told };
}

/** Tells when other bytes come than the digest names, or another number of them. */
function tellingOfWrong(source: ByteSource, onWrong: () => void): ByteSource {
  return {
    read: async (into, position) => {
      try {
        return await source.read(into, position);
      } catch (cause) {
        if (isWrong(resultOf(cause))) onWrong();
        throw cause;
      }
    },
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}

/** Of what nobody has begun to read nothing else closes the answer that is behind it: a 304 needs none of it. */
function closing({ body }: OpenedBlob, source: ByteSource): ByteSource {
  return {
    read: (into, position) => source.read(into, position),
    [Symbol.asyncDispose]: async () => {
      body.destroy();
      await source[Symbol.asyncDispose]();
    },
  };
}

function aheadOf(
  { upstream, of, digest }: BlobQuestion,
  download: Download,
  resume: ResumeRules,
): NonNullable<ServedBlob['relayAhead']> {
  return async (range, { signal }) => {
    if (rangeOfRunning(range, download.writtenBytes) === 'follow') return undefined;
    const { start, end } = range;
    const openAt = (position: number) =>
      upstream.openBlob(of.repository, digest, { signal, range: { start: position, end } });
    const first = await openAt(start).catch((cause: unknown) => unlessRefused(cause));
    if (first?.offset === start) {
      const part = { from: start, until: end + 1, size: download.size };
      return unverifiedSource(resumedPieces({ ...resume, ...part, first, openAt, signal }));
    }
    first?.body.destroy();
    return undefined;
  };
}

/** A part the upstream does not give now comes with the whole: later, but it comes. */
function unlessRefused(cause: unknown): undefined {
  if (!(cause instanceof UpstreamError || cause instanceof OciError)) throw cause;
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
