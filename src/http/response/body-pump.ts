import type { ServerResponse } from 'node:http';
import { interruptible } from '../../mirror/concurrency/abortable-wait.ts';
import type { ByteSource, BorrowedBuffer } from '../../mirror/ports/byte-source.ts';
import type { Memory, MemoryReservation } from '../../mirror/ports/memory.ts';
import { ClientLeft, type Exchange } from '../server/exchange.ts';

export interface StretchOptions {
  readonly source: ByteSource;
  /** The offset of the first byte, and of the one after the last; undefined: to the end of the source. */
  readonly start: number;
  readonly end: number | undefined;
  readonly isSequential: boolean;
  /** The bytes of a sequential source that were read before. */
  readonly readBytes?: number;
  readonly buffers: ReadBuffers;
  /** Sends the headers, when the first bytes are there: until then another answer is possible. Absent if they are sent. */
  readonly begin?: () => void;
  /** Whether more of the answer follows, so that it is not ended. */
  readonly hasMore?: boolean;
}

/** The most bytes that are borrowed at a time: a socket accepts about as many in one call. */
const maxBorrowedBytes = 1024 * 1024;

/**
 * Sends a stretch of a source at the client's pace: one buffer is filled while the other is written. Bytes that are in memory already are
 * borrowed instead of read. There is no stream object between the file and the socket, and at most two buffers wait for the client.
 * @throws when the source fails or ends early: the caller must destroy the socket, and never finish the answer.
 */
export async function sendStretch(
  response: ServerResponse,
  exchange: Exchange,
  options: StretchOptions,
): Promise<void> {
  const { source, start, end, buffers, isSequential, readBytes = 0, begin = () => {}, hasMore = false } = options;
  let pair: BufferPair | undefined;
  const bufferAt = (turn: number) => {
    pair ??= buffers.take(end === undefined ? Infinity : end - start);
    return pair.buffers[turn === 0 ? 0 : 1];
  };
  let unsent: BorrowedBuffer | undefined;
  try {
    let position = isSequential ? await skip(source, { from: readBytes, to: start }, bufferAt(0)) : start;
    let written: Promise<unknown> | undefined;
    for (let turn = 0; end === undefined || position < end; turn ^= 1) {
      const left = (end ?? Infinity) - position;
      unsent = await source.borrow?.(position, Math.min(maxBorrowedBytes, left));
      if (response.destroyed) throw new ClientLeft(); // The source is disposed.
      const read = unsent ? undefined : await readPiece(source, bufferAt(turn), { position, left });
      const bytes = unsent?.bytes ?? read?.byteLength ?? 0;
      await written;
      if (bytes === 0 && end !== undefined) throw new Error(`the content ended at ${position}, before ${end}`);
      if (bytes === 0) break;
      if (!written) begin();
      written = read ? unlessClosed(response, write(response, read)) : unsent && writeBorrowed(response, unsent);
      unsent = undefined;
      written?.catch(() => {}); // It is awaited a turn later; the read may fail before.
      position += bytes;
      exchange.bytes += bytes;
    }
    if (!written) begin();
    await written;
    pair?.release();
    if (!hasMore) response.end();
  } finally {
    unsent?.end();
    pair?.discard();
  }
}

/** @returns what was read, in `buffer`. */
async function readPiece(
  source: ByteSource,
  buffer: Buffer,
  { position, left }: { readonly position: number; readonly left: number },
): Promise<Uint8Array> {
  const bytes = await source.read(buffer.subarray(0, Math.min(buffer.byteLength, left)), position);
  return buffer.subarray(0, bytes);
}

async function skip(
  source: ByteSource,
  { from, to }: { readonly from: number; readonly to: number },
  buffer: Buffer,
): Promise<number> {
  for (let position = from; position < to; ) {
    const bytes = await source.read(buffer.subarray(0, Math.min(buffer.byteLength, to - position)), position);
    if (bytes === 0) throw new Error(`the content ended at ${position}, before ${to}`);
    position += bytes;
  }
  return to;
}

/** Resolves when the kernel has accepted the bytes, so that the buffer is free again. */
function write(response: ServerResponse, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    if (response.destroyed) reject(new ClientLeft());
    else response.write(bytes, (error) => (error ? reject(new ClientLeft()) : resolve()));
  });
}

/** Resolves when the borrowed buffer is sent. One call of the kernel takes all its pieces. */
async function writeBorrowed(response: ServerResponse, borrowed: BorrowedBuffer): Promise<void> {
  try {
    response.cork();
    const written = unlessClosed(response, Promise.all(borrowed.pieces.map((piece) => write(response, piece))));
    response.uncork();
    await written;
  } finally {
    borrowed.end();
  }
}

/**
 * Settles as a write does, or rejects when the answer is closed: Node drops the callback of a write before the answer has its turn on the
 * connection, or while the connection breaks.
 */
function unlessClosed(response: ServerResponse, written: Promise<unknown>): Promise<unknown> {
  return interruptible(written, (giveUp) => {
    const leave = (): void => giveUp(new ClientLeft());
    response.once('close', leave);
    return () => response.off('close', leave);
  });
}

/** Two buffers: while one is written to the socket, the other is filled. */
export interface BufferPair {
  readonly buffers: readonly [Buffer, Buffer];
  /** Returns the buffers for the next reader. They must not be used any more. */
  release(): void;
  /** Ends the use without reusing the buffers: a destroyed socket may still send from them. */
  discard(): void;
}

/** Buffer sizes, and the share of the budget up to which each is handed out. Large buffers are for few readers: more would not fit the CPU caches. */
const sizes: readonly { readonly size: number; readonly share: number }[] = [
  { size: 512 * 1024, share: 1 / 64 },
  { size: 256 * 1024, share: 1 / 8 },
  { size: 128 * 1024, share: 1 / 4 },
];
/** Handed out beyond those shares, while the memory budget has room. */
const usual = 64 * 1024;
/** Handed out when the budget is exhausted, so that no reader waits for a stalled one. */
const smallest = 8 * 1024;
/** Idle buffers kept for reuse, so that small answers allocate none. */
const maxIdlePairs = 4;

/**
 * Read buffers from the memory budget: 512 KiB each for few readers, down to 64 KiB for many, and 8 KiB when the budget is exhausted. So
 * their memory is bounded by the budget plus 16 KiB for each further reader, independent of blob sizes.
 */
export class ReadBuffers {
  readonly #memory: Memory;
  readonly #idle = new Map<number, Buffer[]>(
    [...sizes.map(({ size }) => size), usual, smallest].map((size) => [size, []]),
  );
  #usedBytes = 0;

  constructor({ memory }: { readonly memory: Memory }) {
    this.#memory = memory;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** @param wantedBytes a small answer needs no large buffers. */
  take(wantedBytes: number): BufferPair {
    const { size, reservation } = this.#reserve(wantedBytes);
    this.#usedBytes += 2 * size;
    const buffers = [this.#bufferOf(size), this.#bufferOf(size)] as const;
    let isUsed = true;
    const discard = () => {
      if (isUsed) this.#usedBytes -= 2 * size;
      reservation.release();
      isUsed = false;
    };
    const release = () => {
      if (isUsed) this.#keepIdle(size, buffers);
      discard();
    };
    return { buffers, release, discard };
  }

  #keepIdle(size: number, buffers: readonly Buffer[]): void {
    const idle = this.#idle.get(size);
    if (idle && idle.length < 2 * maxIdlePairs) idle.push(...buffers);
  }

  #reserve(wantedBytes: number): { readonly size: number; readonly reservation: MemoryReservation } {
    const fits = ({ size, share }: { size: number; share: number }) =>
      size < 2 * wantedBytes && this.#usedBytes + 2 * size <= this.#memory.maxBytes * share;
    for (const size of [...sizes.filter(fits).map((one) => one.size), usual]) {
      const reservation = this.#memory.tryReserve(2 * size, { isOptional: true });
      if (reservation) return { size, reservation };
    }
    return { size: smallest, reservation: this.#memory.take(2 * smallest) };
  }

  #bufferOf(size: number): Buffer {
    return this.#idle.get(size)?.pop() ?? Buffer.allocUnsafeSlow(size);
  }
}
