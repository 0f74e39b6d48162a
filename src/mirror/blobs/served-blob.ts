import type { Digest } from '../../oci/digest.ts';
import { OciError, UpstreamError } from '../../oci/errors.ts';
import type { RequestedRange, SatisfiableRange } from '../../oci/range.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import type { Download } from '../downloads/download.ts';
import type { OpenPart } from '../relays/relay-upstream.ts';
import type { Relays } from '../relays/relays.ts';
import { DigestMismatch, heldBackBytes } from '../transfers/held-back.ts';
import type { StoredBlob } from '../ports/blob-store.ts';
import type { ByteSource } from '../ports/byte-source.ts';
import type { CacheStatus } from '../ports/cache-status.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { Upstream } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';
import { piecesOf, verifiedSource } from '../transfers/verified-source.ts';
import { contentKey } from '../ports/same-repository.ts';

export interface BlobQuestion {
  readonly upstream: Upstream;
  readonly of: RepositoryId;
  readonly digest: Digest;
  /** What of the blob is wanted, by its size. Absent: the whole. */
  readonly partOf?: PartOf | undefined;
}

/** As {@link contentKey}. */
export function nameOf({ of, digest }: BlobQuestion): string {
  return contentKey(of, digest);
}

export type PartOf = (size: number) => RequestedRange;

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
  /**
   * A range is answered with the whole blob (RFC 9110 §14.2): it is cached and the disk cannot read it, and a part from the upstream could
   * not be verified.
   */
  readonly ignoresRange?: true;
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
  { signal, relays, ...told }: Told & Waiting & { readonly relays: Relays },
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
  return { digest, size, source, isSequential: false, ...told, relayAhead: aheadOf(question, download, relays) };
}

function aheadOf(question: BlobQuestion, download: Download, relays: Relays): NonNullable<ServedBlob['relayAhead']> {
  return async (range, waiting) => {
    if (rangeOfRunning(range, download.writtenBytes) === 'follow') return undefined;
    const { of, digest } = question;
    const { size } = download;
    const open = openerOf(question);
    const onWrong = () => question.upstream.failedVerification(digest);
    const request = { of, digest, size, open, onWrong, isLinked: true, part: range, needsRanges: true };
    return (await relays.join(request, waiting).catch((cause: unknown) => unlessRefused(cause)))?.source;
  };
}

/** How the parts of a blob are asked for. */
export function openerOf({ upstream, of, digest }: BlobQuestion): OpenPart {
  return (start, end, { signal }) => {
    const range = start === 0 && end === undefined ? {} : { range: { start, end } };
    return upstream.openBlob(of.repository, digest, { signal, ...range });
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
