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
  download: Pick<Download, 'size' | 'writtenBytes' | 'reached'>,
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
  const { repositoryId, digest, partOf } = question;
  const { size } = download;
  const spans = size === undefined ? [] : spansOfWanted(partOf?.(size) ?? 'whole');
  if (spans.length === 0) return following;
  const request = { repositoryId, digest, size, blob, isLinked: true, needsRanges: true };
  const join: JoinPart = async (part, waiting) => (await relays.join({ ...request, part }, waiting)).source;
  const decide = (span: SatisfiableRange) => rangeOfRunning(span, download.writtenBytes);
  return new PartsAhead({ spans, following, join, decide, arrived: ({ end }, gone) => download.reached(end, gone) });
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
  /** Resolves with true when `following` has all of a span, with false when it will not, or the signal aborts. Never rejects. */
  readonly arrived: (span: SatisfiableRange, waiting: Waiting) => Promise<boolean>;
}

/** The span that the reader is at. */
interface Current {
  readonly span: SatisfiableRange;
  /** Aborts when the reader leaves the span, or its relay. */
  readonly left: AbortController;
  /** Undefined when the span follows the download. */
  relay: ByteSource | undefined;
}

/**
 * Spans of a running download as one source, which must be read at ascending positions. When the reader comes to a span, it is decided
 * whether it follows the download or is relayed from the upstream. One relay is open at a time. When the download has all of a span before its
 * relay does, the rest of the span follows the download. Once the upstream has refused a span, or ignored its range, all others follow it too.
 */
export class PartsAhead implements ByteSource {
  readonly #options: PartsAheadOptions;
  readonly #gone = new AbortController();
  #current: Current | undefined;
  #isRefused = false;

  constructor(options: PartsAheadOptions) {
    this.#options = options;
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    const relayed = await this.#readRelay(into, position);
    return relayed ?? this.#options.following.read(into, position);
  }

  async borrow(position: number, maxBytes: number): Promise<BorrowedBuffer | undefined> {
    return (await this.#relayAt(position)) ? undefined : this.#options.following.borrow?.(position, maxBytes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#gone.abort(readerLeft());
    await Promise.all([this.#leave(this.#current), this.#options.following[Symbol.asyncDispose]()]);
  }

  /** @returns undefined when the position follows the download. */
  async #readRelay(into: Uint8Array, position: number): Promise<number | undefined> {
    const relay = await this.#relayAt(position);
    try {
      return await relay?.read(into, position);
    } catch (cause) {
      const isOvertaken = this.#current?.left.signal.aborted === true && !this.#gone.signal.aborted;
      if (!isOvertaken) throw cause;
      return undefined;
    }
  }

  async #relayAt(position: number): Promise<ByteSource | undefined> {
    const { spans, decide } = this.#options;
    const span = spans.find(({ start, end }) => start <= position && position <= end);
    if (span && span !== this.#current?.span) {
      await this.#leave(this.#current);
      this.#gone.signal.throwIfAborted();
      const current = { span, left: new AbortController(), relay: undefined };
      this.#current = current;
      if (!this.#isRefused && decide(span) === 'relay') await this.#joinRelay(current);
    }
    return this.#current?.relay;
  }

  /** If the relay fails, the range is read from the download once it arrives. */
  async #joinRelay(current: Current): Promise<void> {
    const { span, left } = current;
    const { signal } = left;
    void this.#leaveOnArrival(current);
    try {
      current.relay = await this.#options.join({ start: span.start, end: span.end }, { signal });
    } catch (cause) {
      if (!(cause instanceof UpstreamError || cause instanceof OciError)) throw cause;
      this.#isRefused ||= !signal.aborted;
    }
    if (signal.aborted) await this.#leave(current);
    this.#gone.signal.throwIfAborted();
  }

  /** A relay that is slower than the download is left, however little it sends. */
  async #leaveOnArrival(current: Current): Promise<void> {
    if (await this.#options.arrived(current.span, current.left)) await this.#leave(current);
  }

  async #leave(current: Current | undefined): Promise<void> {
    const relay = current?.relay;
    if (current) current.relay = undefined;
    current?.left.abort(readerLeft());
    await relay?.[Symbol.asyncDispose]();
  }
}

function readerLeft(): UpstreamError {
  return new UpstreamError('busy', 'the reader has left');
}
