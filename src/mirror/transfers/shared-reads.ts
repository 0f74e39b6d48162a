import type { BorrowedBuffer } from '../ports/byte-source.ts';
import type { Memory, MemoryReservation } from '../ports/memory.ts';
import { freeMemory } from './piece-buffers.ts';

/** Reads by position, as a stored blob does. */
export interface Readable {
  read(into: Uint8Array, position: number): Promise<number>;
}

export interface SharedReadsDeps {
  readonly memory: Memory;
  /** How much is read at a time; for tests. */
  readonly pieceBytes?: number;
}

/** Waking one of Node's threads for a read costs as much as reading 128 KiB, and a socket accepts this much in one call. */
export const usualPieceBytes = 1024 * 1024;
/** The part of the memory budget that pieces may take: a quarter of what optional uses may. */
const memoryShare = 1 / 8;
/** A piece is kept for readers that are at most this many pieces behind it. */
const keptAhead = 8;
/** Buffers that are kept for the next pieces while anything is read: memory that was used a moment ago is in the processor's cache. */
const maxSpareBuffers = 2;

/**
 * Pieces of blobs in memory, which readers at nearby positions share: one read from the disk, and a write to each client.
 *
 *     blob   ├──────┼──────┼──────┼──────┼──────┤
 *                   ▲  kept for reader A  ▲     ▲
 *                   A                     B     C reads the next one
 *
 * A piece that no reader borrows is kept while a reader is close behind it; then its memory goes to the next piece. Nobody waits for a
 * slower reader: one that falls behind reads pieces of its own. All pieces together are optional use of the memory budget. When it has no
 * room, pieces that nobody borrows are dropped, the oldest first; then nothing can be borrowed, and each reader reads into its own buffers.
 */
export class SharedReads {
  readonly #pieceBytes: number;
  readonly #buffers: PieceBuffers;
  /** Those that nobody borrows, the oldest first. */
  readonly #idle = new Set<Piece>();

  constructor({ memory, pieceBytes = usualPieceBytes }: SharedReadsDeps) {
    this.#pieceBytes = pieceBytes;
    this.#buffers = new PieceBuffers(memory, pieceBytes);
  }

  /** What is allocated. */
  get heldBytes(): number {
    return this.#buffers.heldBytes;
  }

  /** The pieces of one blob, for readers that read the same bytes. */
  window(): ReadWindow {
    return new ReadWindow({ pieceBytes: this.#pieceBytes, buffers: this.#buffers, idle: this.#idle });
  }
}

interface WindowDeps {
  readonly pieceBytes: number;
  readonly buffers: PieceBuffers;
  readonly idle: Set<Piece>;
}

interface Piece {
  readonly window: ReadWindow;
  readonly index: number;
  readonly bytes: number;
  readonly buffer: Uint8Array;
  readonly loadedBy: WindowReader;
  readonly loaded: Promise<void>;
  borrowers: number;
}

/** The pieces of one blob. */
export class ReadWindow {
  readonly #deps: WindowDeps;
  readonly #pieces = new Map<number, Piece>();
  /** How many readers read each piece next. */
  readonly #readersAt = new Map<number, number>();

  constructor(deps: WindowDeps) {
    this.#deps = deps;
  }

  get pieceBytes(): number {
    return this.#deps.pieceBytes;
  }

  /** Whether no reader is left. */
  get isUnused(): boolean {
    return this.#readersAt.size === 0;
  }

  /** @param source the reader's own handle, from which it reads what no other reader has read. */
  join(source: Readable): WindowReader {
    return new WindowReader(this, source);
  }

  /** A reader of the piece at `from` reads that at `to` next. Undefined: it has not begun, or leaves. */
  moved(from: number | undefined, to: number | undefined): void {
    if (from === to) return;
    if (to !== undefined) this.#readersAt.set(to, (this.#readersAt.get(to) ?? 0) + 1);
    if (from === undefined) return;
    const others = (this.#readersAt.get(from) ?? 0) - 1;
    if (others > 0) this.#readersAt.set(from, others);
    else this.#readersAt.delete(from);
    if (others > 0) return;
    for (const piece of this.#pieces.values()) if (this.#deps.idle.has(piece)) this.#dropUnwanted(piece);
  }

  /** The piece at `index`, which the caller borrows: read already, being read, or read by the caller if `mayRead`. */
  take(
    index: number,
    reader: WindowReader,
    { bytes, mayRead }: { bytes: number; mayRead: boolean },
  ): Piece | undefined {
    const piece = this.#pieces.get(index) ?? (mayRead ? this.#read(index, bytes, reader) : undefined);
    if (!piece) return undefined;
    piece.borrowers += 1;
    this.#deps.idle.delete(piece);
    return piece;
  }

  /** A borrower has returned the piece. */
  returned(piece: Piece): void {
    piece.borrowers -= 1;
    if (piece.borrowers > 0 || this.#pieces.get(piece.index) !== piece) return;
    this.#deps.idle.add(piece);
    this.#dropUnwanted(piece);
  }

  /** Frees a piece that nobody borrows. */
  drop(piece: Piece): void {
    this.#deps.idle.delete(piece);
    this.#pieces.delete(piece.index);
    this.#deps.buffers.give(piece.buffer);
  }

  #dropUnwanted(piece: Piece): void {
    for (let index = piece.index - keptAhead; index <= piece.index; index += 1) if (this.#readersAt.has(index)) return;
    this.drop(piece);
  }

  #read(index: number, bytes: number, reader: WindowReader): Piece | undefined {
    const { buffers, idle, pieceBytes } = this.#deps;
    let buffer = buffers.take();
    for (const oldest of buffer ? [] : idle) {
      oldest.window.drop(oldest);
      buffer = buffers.take();
      if (buffer) break;
    }
    if (!buffer) return undefined;
    const loaded = readAll(reader.source, buffer.subarray(0, bytes), index * pieceBytes);
    const piece: Piece = { window: this, index, bytes, buffer, loadedBy: reader, loaded, borrowers: 0 };
    this.#pieces.set(index, piece);
    // Its borrowers get the failure, and the next one reads again.
    loaded.catch(() => this.drop(piece));
    return piece;
  }
}

/** One reader of a window. It must be disposed. */
export class WindowReader implements Disposable {
  readonly source: Readable;
  readonly #window: ReadWindow;
  /** The piece that it reads next. */
  #at: number | undefined;
  #hasLeft = false;

  constructor(window: ReadWindow, source: Readable) {
    this.#window = window;
    this.source = source;
  }

  /**
   * @param maxBytes how many bytes are wanted. A piece is read only if at least half of it is wanted.
   * @param end where the bytes end that can be read now.
   * @returns the wanted bytes up to the end of their piece; undefined if they are not in memory, and are not to be read into it.
   * @throws what the read of the piece failed with, for all who wait for it.
   */
  async borrow(position: number, maxBytes: number, end: number): Promise<BorrowedBuffer | undefined> {
    const { pieceBytes } = this.#window;
    const index = Math.floor(position / pieceBytes);
    const start = index * pieceBytes;
    const bytes = Math.min(pieceBytes, end - start);
    const wanted = Math.min(start + bytes - position, maxBytes);
    if (wanted <= 0) return undefined;
    for (;;) {
      if (this.#hasLeft) return undefined;
      this.#moveTo(index);
      const piece = this.#window.take(index, this, { bytes, mayRead: 2 * wanted >= bytes });
      if (!piece) return undefined;
      try {
        await piece.loaded;
      } catch (cause) {
        if (piece.loadedBy === this || !piece.loadedBy.#hasLeft) throw cause;
        continue; // It may have failed because that reader has left.
      }
      if (!this.#hasLeft && wanted === start + bytes - position) this.#moveTo(index + 1);
      return borrowed(piece, position - start, wanted);
    }
  }

  [Symbol.dispose](): void {
    this.#hasLeft = true;
    this.#moveTo(undefined);
  }

  #moveTo(index: number | undefined): void {
    const from = this.#at;
    this.#at = index;
    this.#window.moved(from, index);
  }
}

function borrowed(piece: Piece, from: number, bytes: number): BorrowedBuffer {
  let isReturned = false;
  const end = () => {
    if (!isReturned) piece.window.returned(piece);
    isReturned = true;
  };
  return { pieces: [piece.buffer.subarray(from, from + bytes)], bytes, end };
}

/** @throws what the read throws, or Error when there are fewer bytes. */
async function readAll(source: Readable, into: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < into.byteLength; ) {
    const bytes = await source.read(into.subarray(done), position + done);
    if (bytes === 0) throw new Error(`the content ended at ${position + done}, before ${position + into.byteLength}`);
    done += bytes;
  }
}

/** Buffers of one size, from the memory budget. */
class PieceBuffers {
  readonly #bufferBytes: number;
  readonly #maxBytes: number;
  readonly #reservation: MemoryReservation | undefined;
  readonly #spare: Uint8Array[] = [];
  #allocated = 0;

  constructor(memory: Memory, bufferBytes: number) {
    this.#bufferBytes = bufferBytes;
    this.#maxBytes = memory.maxBytes * memoryShare;
    this.#reservation = memory.tryReserve(0, { isOptional: true });
  }

  get heldBytes(): number {
    return this.#allocated * this.#bufferBytes;
  }

  /** @returns undefined when the budget has no room. */
  take(): Uint8Array | undefined {
    return this.#spare.pop() ?? this.#allocate();
  }

  /** The last buffer in use takes the spare ones with it. */
  give(buffer: Uint8Array): void {
    this.#spare.push(buffer);
    const isLast = this.#spare.length === this.#allocated;
    for (const spare of this.#spare.splice(isLast ? 0 : maxSpareBuffers)) this.#free(spare);
  }

  #allocate(): Uint8Array | undefined {
    const bytes = this.heldBytes + this.#bufferBytes;
    if (bytes > this.#maxBytes || !this.#reservation?.tryResize(bytes)) return undefined;
    this.#allocated += 1;
    return Buffer.allocUnsafeSlow(this.#bufferBytes);
  }

  #free(buffer: Uint8Array): void {
    this.#allocated -= 1;
    this.#reservation?.tryResize(this.heldBytes);
    freeMemory(buffer);
  }
}
