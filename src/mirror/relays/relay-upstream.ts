import type { OpenedBlob } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { RemoteBlob } from '../transfers/remote-blob.ts';
import { type ResumeRules, resumedPieces } from '../transfers/resumed-pieces.ts';

export interface RelayUpstreamOptions extends ResumeRules, Waiting {
  readonly from: number;
  /** The end position, exclusive; undefined: to the end of the blob. */
  readonly until: number | undefined;
  /** Size of the whole blob, if it is known. */
  readonly size: number | undefined;
  /** An answer that is open already. */
  readonly first?: OpenedBlob | undefined;
  readonly blob: Pick<RemoteBlob, 'open' | 'skipSource' | 'received'>;
}

/**
 * The pieces of a blob from its upstream, for readers that may stop reading: {@link closeAnswer} closes the upstream's answer, and the next call
 * of {@link next} asks for the rest by range.
 */
export class RelayUpstream {
  readonly #options: RelayUpstreamOptions;
  #position: number;
  #first: OpenedBlob | undefined;
  #pieces: AsyncGenerator<readonly Uint8Array[], void> | undefined;
  /** Position behind the last byte that the open answer was asked for. */
  #askedUntil: number | undefined;
  #hasNoRanges: boolean;
  #isOver = false;
  readonly #blob: RelayUpstreamOptions['blob'];

  constructor(options: RelayUpstreamOptions) {
    this.#options = options;
    this.#position = options.from;
    this.#first = options.first;
    this.#hasNoRanges = options.first !== undefined && options.first.offset < options.from;
    this.#blob = {
      open: (position, end, waiting) => this.#open(position, end, waiting),
      skipSource: (opened) => options.blob.skipSource(opened),
      received: (opened, bytes) => options.blob.received(opened, bytes),
    };
  }

  /** Whether an upstream answer is open. */
  get isOpen(): boolean {
    return this.#first !== undefined || this.#pieces !== undefined;
  }

  /**
   * @param stretchBytes how many bytes to ask for if the upstream has to be asked; absent: all.
   * @returns undefined at the end.
   * @throws as `resumedPieces` does.
   */
  async next(stretchBytes?: number): Promise<Uint8Array | undefined> {
    while (!this.#isOver) {
      this.#pieces ??= this.#openPieces(stretchBytes);
      const { done, value } = await this.#pieces.next();
      const [piece] = value ?? [];
      if (piece) {
        this.#position += piece.byteLength;
        return piece;
      }
      if (done !== true) continue;
      this.#pieces = undefined;
      this.#isOver = this.#askedUntil === this.#options.until;
    }
    return undefined;
  }

  /** Closes the open answer, unless the upstream ignores ranges: resuming would then cost all bytes from the beginning. */
  async closeAnswer(): Promise<void> {
    if (!this.#hasNoRanges) await this.close();
  }

  async close(): Promise<void> {
    const pieces = this.#pieces;
    this.#pieces = undefined;
    this.#first?.body.destroy();
    this.#first = undefined;
    await pieces?.return();
  }

  /** One piece at a time. */
  #openPieces(stretchBytes: number | undefined): AsyncGenerator<readonly Uint8Array[], void> {
    const { from, size, until, signal } = this.#options;
    const first = this.#first;
    this.#first = undefined;
    const end = until ?? size;
    const isWhole = first !== undefined || stretchBytes === undefined || end === undefined || this.#hasNoRanges;
    this.#askedUntil = isWhole ? until : untilOf(this.#position + stretchBytes, end, until);
    const common = { ...this.#options, first, blob: this.#blob, signal, until: this.#askedUntil };
    // If the size is not known, a range that begins at the end of the blob would be refused: so the last byte is asked for once more.
    const isBehindUnknown = size === undefined && until === undefined && first === undefined && this.#position > from;
    if (!isBehindUnknown) return resumedPieces({ ...common, from: this.#position });
    return withoutFirstByte(resumedPieces({ ...common, from: this.#position - 1 }));
  }

  async #open(position: number, end: number | undefined, waiting: Waiting): Promise<OpenedBlob> {
    const opened = await this.#options.blob.open(position, end, waiting);
    if (opened.offset < position) this.#hasNoRanges = true;
    return opened;
  }
}

/** A stretch that reaches the end of the blob is requested as an open-ended range, so that its end counts as the end of the blob. */
function untilOf(stretchEnd: number, end: number, until: number | undefined): number | undefined {
  return stretchEnd < end ? stretchEnd : until;
}

async function* withoutFirstByte(
  lists: AsyncGenerator<readonly Uint8Array[], void>,
): AsyncGenerator<readonly Uint8Array[], void> {
  let isFirst = true;
  for await (const [piece] of lists) {
    const rest = isFirst ? piece?.subarray(1) : piece;
    isFirst = false;
    if (rest && rest.byteLength > 0) yield [rest];
  }
}
