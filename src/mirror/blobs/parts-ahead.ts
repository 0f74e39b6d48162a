import { OciError, UpstreamError } from '../../oci/errors.ts';
import type { RequestedRange, SatisfiableRange } from '../../oci/range.ts';
import type { Download } from '../downloads/download.ts';
import type { ByteSource, BorrowedBuffer } from '../ports/byte-source.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { Part, Relays } from '../relays/relays.ts';
import { spansOf } from './relayed-spans.ts';
import type { RemoteBlob } from '../transfers/remote-blob.ts';
import type { BlobQuestion } from './served-blob.ts';

/** A range this small … */
const maxRelayedBytes = 8 * 1024 * 1024;
/** … that starts this far ahead of the writer is asked for on its own (lazy pulling: nydus, estargz, zstd:chunked). */
const minRelayedAheadBytes = 64 * 1024 * 1024;

/** Whether a range of a running download follows the writer, or is relayed from the upstream beside it. Pure. */
export function rangeOfRunning(range: SatisfiableRange, writtenBytes: number): 'follow' | 'relay' {
  const isSmall = range.end - range.start + 1 <= maxRelayedBytes;
  return !range.isOpenEnded && isSmall && range.start - writtenBytes > minRelayedAheadBytes ? 'relay' : 'follow';
}

/** The wanted ranges of a blob that is being downloaded: those far ahead of the download come from the upstream beside it. */
export function partsAhead(
  question: BlobQuestion,
  download: Pick<Download, 'size' | 'writtenBytes'>,
  {
    following,
    relays,
    blob,
  }: {
    readonly following: ByteSource;
    readonly relays: Pick<Relays, 'join'>;
    readonly blob: RemoteBlob;
  },
): ByteSource {
  const { of, digest, partOf } = question;
  const { size } = download;
  const spans = size === undefined ? [] : spansOfWanted(partOf?.(size) ?? 'whole');
  if (spans.length === 0) return following;
  const request = { of, digest, size, blob, isLinked: true, needsRanges: true };
  const join: JoinPart = async (part, waiting) => (await relays.join({ ...request, part }, waiting)).source;
  return new PartsAhead({ spans, following, join, decide: (span) => rangeOfRunning(span, download.writtenBytes) });
}

function spansOfWanted(wanted: RequestedRange): readonly SatisfiableRange[] {
  if (typeof wanted === 'string') return [];
  if (!('ranges' in wanted)) return [wanted];
  const last = wanted.ranges.at(-1);
  return spansOf(wanted.ranges).map((span) => ({
    ...span,
    isOpenEnded: last?.isOpenEnded === true && span.end === last.end,
  }));
}

/** Asks the upstream for a part of a blob. */
export type JoinPart = (part: Part, waiting: Waiting) => Promise<ByteSource>;

export interface PartsAheadOptions {
  /** Ascending, and none overlapping another. */
  readonly spans: readonly SatisfiableRange[];
  /** The download. It is disposed with this source. */
  readonly following: ByteSource;
  readonly decide: (span: SatisfiableRange) => 'follow' | 'relay';
  readonly join: JoinPart;
}

/**
 * Spans of a running download as one source, which must be read at ascending positions. When the reader comes to a span, it is decided
 * whether it follows the download or is relayed from the upstream. One relay is open at a time. Once the upstream has refused a span, or
 * ignored its range, the rest follows the download.
 */
export class PartsAhead implements ByteSource {
  readonly #options: PartsAheadOptions;
  readonly #gone = new AbortController();
  #index = -1;
  #relay: ByteSource | undefined;
  #isRefused = false;

  constructor(options: PartsAheadOptions) {
    this.#options = options;
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    return (await this.#sourceAt(position)).read(into, position);
  }

  async borrow(position: number, maxBytes: number): Promise<BorrowedBuffer | undefined> {
    return (await this.#sourceAt(position)).borrow?.(position, maxBytes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#gone.abort(new UpstreamError('busy', 'the reader has left'));
    await Promise.all([this.#leaveRelay(), this.#options.following[Symbol.asyncDispose]()]);
  }

  async #sourceAt(position: number): Promise<ByteSource> {
    const { spans, decide, following } = this.#options;
    const index = spans.findIndex(({ start, end }) => start <= position && position <= end);
    const span = spans[index];
    if (span && index !== this.#index) {
      this.#index = index;
      await this.#leaveRelay();
      if (!this.#isRefused && decide(span) === 'relay') await this.#joinRelay(span);
    }
    return this.#relay ?? following;
  }

  /** What the upstream does not give now comes with the download: later, but it comes. */
  async #joinRelay({ start, end }: SatisfiableRange): Promise<void> {
    const { signal } = this.#gone;
    try {
      this.#relay = await this.#options.join({ start, end }, { signal });
    } catch (cause) {
      if (!(cause instanceof UpstreamError || cause instanceof OciError)) throw cause;
      this.#isRefused = true;
    }
    if (signal.aborted) await this.#leaveRelay();
    signal.throwIfAborted();
  }

  async #leaveRelay(): Promise<void> {
    const relay = this.#relay;
    this.#relay = undefined;
    await relay?.[Symbol.asyncDispose]();
  }
}
