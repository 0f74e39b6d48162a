import type { OpenedBlob } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';
import { type ResumeRules, resumedPieces } from '../resumed-pieces.ts';

/** Asks the upstream for a blob from a position on; to `end`, the last byte, where that is given. */
export type OpenPart = (position: number, end: number | undefined, waiting: Waiting) => Promise<OpenedBlob>;

export interface RelayUpstreamOptions extends ResumeRules, Waiting {
  readonly from: number;
  /** The position behind the last byte wanted; absent: to the end of the blob. */
  readonly until: number | undefined;
  /** Of the whole blob, where it is known. */
  readonly size: number | undefined;
  /** An answer that is open already. */
  readonly first?: OpenedBlob | undefined;
  readonly open: OpenPart;
}

/**
 * The pieces of a blob from its upstream, for readers that may stop reading: {@link letGo} ends the upstream's answer, and what follows is
 * asked for by range when it is wanted again.
 */
export class RelayUpstream {
  readonly #options: RelayUpstreamOptions;
  #position: number;
  #first: OpenedBlob | undefined;
  #pieces: AsyncGenerator<Uint8Array, void> | undefined;
  /** Position behind what the open answer was asked for. */
  #askedUntil: number | undefined;
  #hasNoRanges: boolean;
  #isOver = false;

  constructor(options: RelayUpstreamOptions) {
    this.#options = options;
    this.#position = options.from;
    this.#first = options.first;
    this.#hasNoRanges = options.first !== undefined && options.first.offset < options.from;
  }

  /** Whether an answer of the upstream is open. */
  get isOpen(): boolean {
    return this.#first !== undefined || this.#pieces !== undefined;
  }

  /**
   * @param stretchBytes how much is asked for where the upstream has to be asked; absent: all.
   * @returns undefined at the end.
   * @throws as `resumedPieces` does.
   */
  async next(stretchBytes?: number): Promise<Uint8Array | undefined> {
    while (!this.#isOver) {
      this.#pieces ??= this.#openPieces(stretchBytes);
      const { done, value } = await this.#pieces.next();
      if (done !== true) {
        this.#position += value.byteLength;
        return value;
      }
      this.#pieces = undefined;
      this.#isOver = this.#askedUntil === this.#options.until;
    }
    return undefined;
  }

  /** Ends the answer that is open. An upstream that knows no ranges keeps it: going on would cost all that came before. */
  async letGo(): Promise<void> {
    if (!this.#hasNoRanges) await this.close();
  }

  async close(): Promise<void> {
    const pieces = this.#pieces;
    this.#pieces = undefined;
    this.#first?.body.destroy();
    this.#first = undefined;
    await pieces?.return();
  }

  #openPieces(stretchBytes: number | undefined): AsyncGenerator<Uint8Array, void> {
    const { from, size, until, signal } = this.#options;
    const first = this.#first;
    this.#first = undefined;
    const end = until ?? size;
    const isWhole = first !== undefined || stretchBytes === undefined || end === undefined || this.#hasNoRanges;
    this.#askedUntil = isWhole ? until : untilOf(this.#position + stretchBytes, end, until);
    const askedUntil = this.#askedUntil;
    const openAt = (position: number) => this.#open(position, askedUntil);
    const common = { ...this.#options, first, openAt, signal, until: askedUntil };
    // Of a blob of unknown size a range that begins at its very end would be refused: the last byte is asked for once more.
    const isBehindUnknown = size === undefined && until === undefined && first === undefined && this.#position > from;
    if (!isBehindUnknown) return resumedPieces({ ...common, from: this.#position });
    return withoutFirstByte(resumedPieces({ ...common, from: this.#position - 1 }));
  }

  async #open(position: number, until: number | undefined): Promise<OpenedBlob> {
    const { open, signal } = this.#options;
    const opened = await open(position, until === undefined ? undefined : until - 1, { signal });
    if (opened.offset < position) this.#hasNoRanges = true;
    return opened;
  }
}

/** A stretch that reaches the end of the blob is asked for as all that is left, so that it ends as that does. */
function untilOf(stretchEnd: number, end: number, until: number | undefined): number | undefined {
  return stretchEnd < end ? stretchEnd : until;
}

async function* withoutFirstByte(pieces: AsyncGenerator<Uint8Array, void>): AsyncGenerator<Uint8Array, void> {
  let isFirst = true;
  for await (const piece of pieces) {
    const rest = isFirst ? piece.subarray(1) : piece;
    isFirst = false;
    if (rest.byteLength > 0) yield rest;
  }
}
