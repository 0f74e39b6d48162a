import type { Memory, MemoryReservation } from '../ports/memory.ts';
import { DiskFailure } from './transfer-errors.ts';
import type { BorrowedBuffer } from '../ports/byte-source.ts';

/** How many bytes are gathered for one write. Waking one of Node's threads costs as much as writing 128 KiB (bench/README.md has figures). */
const writeBytes = 512 * 1024;
/** How much one write takes of what is there already. */
const mostWriteBytes = 1024 * 1024;
/** Fewer bytes are written after this time, so that readers of a slow upstream see them. */
const maxWriteDelayMs = 5;

export interface GatheredWritesDeps {
  /** Bytes that wait to be written count against it. */
  readonly memory: Memory;
  /** Called before each write. */
  readonly makeRoom: (bytes: number) => Promise<void>;
  /** Writes, one call at a time. */
  readonly append: (chunks: readonly Uint8Array[]) => Promise<void>;
  /** Settles as a write does, or rejects when that takes too long. */
  readonly inTime: (writing: Promise<void>) => Promise<void>;
  /** Called with the chunks of each write, before the next write begins. */
  readonly onWritten: (chunks: readonly Uint8Array[], bytes: number) => void;
}

/**
 * Gathers pieces and writes them together. At most one write runs while the next is gathered. After a failed write, or one that takes too long,
 * nothing more is written; the memory of the latter counts, and is used for nothing else, until the disk has returned.
 */
export class GatheredWrites {
  readonly #deps: GatheredWritesDeps;
  readonly #unwritten: MemoryReservation | undefined;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #writingBytes = 0;
  #writing: Promise<void> | undefined;
  /** Settles when the disk has returned from the last write. */
  #atDisk: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failure: { readonly cause: unknown } | undefined;
  #isAtDisk = false;

  constructor(deps: GatheredWritesDeps) {
    this.#deps = deps;
    this.#unwritten = deps.memory.tryReserve(0, { isOptional: true });
  }

  /** Whether a write is running. */
  get isAtDisk(): boolean {
    return this.#isAtDisk;
  }

  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  /** How many bytes may be added together now: those that fill the next write, or 1 if memory is short. */
  get wantedBytes(): number {
    const wantedBytes = Math.max(1, mostWriteBytes - this.#queuedBytes);
    const heldBytes = this.#queuedBytes + this.#writingBytes;
    return this.#unwritten?.canResize(heldBytes + wantedBytes) ? wantedBytes : 1;
  }

  /** Resolves when the next pieces may be added: when memory is short, only after all is written. @throws DiskFailure once a write has failed. */
  async add(pieces: readonly Uint8Array[]): Promise<void> {
    for (const piece of pieces) {
      this.#queue.push(piece);
      this.#queuedBytes += piece.byteLength;
    }
    const mayGather = this.#unwritten?.tryResize(this.#queuedBytes + this.#writingBytes) ?? false;
    if (!mayGather) {
      await this.#write();
      await this.#writing;
    } else if (this.#queuedBytes >= writeBytes) await this.#write();
    else this.#writeSoon();
    this.#throwIfFailed();
  }

  /** Writes everything that was gathered. @throws DiskFailure */
  async finish(): Promise<void> {
    await this.#write();
    await this.#writing;
    this.#throwIfFailed();
  }

  /** Drops what was gathered, and waits for the running write. */
  async drop(): Promise<void> {
    this.#queue = [];
    this.#queuedBytes = 0;
    await this.#writing;
  }

  /** Cancels the delayed write: nothing more will be gathered. */
  stopWaiting(): void {
    clearTimeout(this.#timer);
  }

  /** Waits for the running write, however long the disk takes, and returns the memory. */
  async end(): Promise<void> {
    await this.#writing;
    await this.#atDisk;
    this.#unwritten?.release();
  }

  /** Begins to write what was gathered, once the running write has ended. */
  async #write(): Promise<void> {
    await this.#writing;
    if (this.#queuedBytes === 0 || this.#failure) return;
    const chunks = this.#queue;
    const bytes = this.#queuedBytes;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#writingBytes = bytes;
    this.#writing = this.#append(chunks, bytes);
  }

  async #append(chunks: readonly Uint8Array[], bytes: number): Promise<void> {
    this.#isAtDisk = true;
    try {
      await this.#deps.makeRoom(bytes);
      const writing = this.#deps.append(chunks);
      this.#atDisk = writing.catch(() => {});
      await this.#deps.inTime(writing);
    } catch (cause) {
      this.#failure = { cause };
      return;
    } finally {
      this.#isAtDisk = false;
    }
    this.#writingBytes = 0;
    this.#unwritten?.tryResize(this.#queuedBytes);
    this.#deps.onWritten(chunks, bytes);
    if (this.#queuedBytes > 0) this.#writeSoon();
  }

  #writeSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#write();
    }, maxWriteDelayMs);
  }

  #throwIfFailed(): void {
    if (this.#failure) throw new DiskFailure(this.#failure.cause);
  }
}

interface Held {
  readonly piece: Uint8Array;
  /** Position of its first byte in the blob. */
  readonly start: number;
  borrowers: number;
  /** Whether it is still one of the recent pieces. */
  isRecent: boolean;
}

/** Smaller pieces are not kept: to send them one by one costs more than to read them back together. */
const minPieceBytes = 8 * 1024;

/**
 * The pieces of a download that were written last. Readers that keep up borrow them, and send them without reading the file. ADR 19
 * has the figures.
 *
 *     … freed │ recent: at most maxBytes │ being written, queued
 *          └ except borrowed pieces: each is freed when its last borrower returns it. While these are more than maxBytes (clients that
 *            borrow and then stall), nothing more can be borrowed, and readers read the file
 *
 * All of it is optional use of the memory budget: if the budget has no room, a piece is freed at once.
 */
export class RecentPieces {
  readonly #maxBytes: number;
  #held: Held[] = [];
  #bytes = 0;
  /** Borrowed, and no longer recent. */
  #overdueBytes = 0;

  readonly #reservation: MemoryReservation | undefined;

  constructor({ maxBytes, memory }: { readonly maxBytes: number; readonly memory: Memory }) {
    this.#maxBytes = maxBytes;
    this.#reservation = memory.tryReserve(0, { isOptional: true });
  }

  /** The recent ones and the borrowed ones. */
  get heldBytes(): number {
    return this.#bytes + this.#overdueBytes;
  }

  /** @param start the position of the first byte of `pieces`, where the previous ones ended. */
  add(pieces: readonly Uint8Array[], start: number): void {
    let position = start;
    for (const piece of pieces) {
      const bytes = piece.byteLength;
      this.#keep(piece, position);
      position += bytes;
    }
    this.#forgetDownTo(this.#maxBytes);
  }

  /** @returns at most `maxBytes` from `position` on; undefined if they are not in memory. */
  borrow(position: number, maxBytes: number): BorrowedBuffer | undefined {
    if (this.#overdueBytes > this.#maxBytes) return undefined;
    const first = this.#held.findIndex(({ piece, start }) => start <= position && position < start + piece.byteLength);
    if (first === -1) return undefined;
    const borrowed: Held[] = [];
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    for (let place = first; place < this.#held.length && bytes < maxBytes; place += 1) {
      const held = this.#held[place];
      if (!held || held.start > position + bytes) break;
      const from = position + bytes - held.start;
      const piece = held.piece.subarray(from, from + maxBytes - bytes);
      held.borrowers += 1;
      borrowed.push(held);
      pieces.push(piece);
      bytes += piece.byteLength;
    }
    return { pieces, bytes, end: () => this.#end(borrowed) };
  }

  /** Forgets all recent pieces. */
  clear(): void {
    this.#forgetDownTo(0);
  }

  #keep(piece: Uint8Array, start: number): void {
    const bytes = piece.byteLength;
    if (bytes >= minPieceBytes && !this.#mayHold(bytes)) this.#forgetDownTo(Math.max(0, this.#bytes - bytes));
    if (bytes < minPieceBytes || !this.#mayHold(bytes)) {
      freeMemory(piece);
      return;
    }
    this.#held.push({ piece, start, borrowers: 0, isRecent: true });
    this.#bytes += bytes;
  }

  #forgetDownTo(maxBytes: number): void {
    let forgotten = 0;
    for (; this.#bytes > maxBytes; forgotten += 1) {
      const held = this.#held[forgotten];
      if (!held) break;
      this.#bytes -= held.piece.byteLength;
      held.isRecent = false;
      if (held.borrowers === 0) freeMemory(held.piece);
      else this.#overdueBytes += held.piece.byteLength;
    }
    this.#held.splice(0, forgotten);
    this.#mayHold(0);
  }

  /** Reserves memory for what is held and `more`. @returns whether the budget has room. */
  #mayHold(more: number): boolean {
    return this.#reservation?.tryResize(this.heldBytes + more) ?? false;
  }

  #end(borrowed: Held[]): void {
    for (const held of borrowed.splice(0)) {
      held.borrowers -= 1;
      if (held.borrowers > 0 || held.isRecent) continue;
      this.#overdueBytes -= held.piece.byteLength;
      freeMemory(held.piece);
    }
    this.#mayHold(0);
  }
}

/**
 * Frees the memory of a piece at once. Left to the garbage collector, 64 KiB pieces pile up to a hundred MiB during a download, since V8
 * counts only their handles, and new pieces always come from memory that no processor cache holds. Measured over a cold pull of
 * 256 MiB: half the CPU time, and 60 MiB less at the peak.
 *
 * A piece that shares its buffer with others is not freed.
 */
export function freeMemory(piece: Uint8Array): void {
  const { buffer } = piece;
  if (buffer instanceof ArrayBuffer && piece.byteLength === buffer.byteLength) buffer.transfer(0);
}
