import type { ServerResponse } from 'node:http';
import { interruptible } from '../../mirror/concurrency/abortable-wait.ts';
import type { ByteSource, BorrowedBuffer } from '../../mirror/ports/byte-source.ts';
import { ClientLeft, type Exchange } from '../registry/exchange.ts';
import type { ReadBuffers } from './read-buffers.ts';

export interface StretchOptions {
  readonly source: ByteSource;
  /** First byte, and the one behind the last; undefined: to the end of the source. */
  readonly start: number;
  readonly end: number | undefined;
  readonly isSequential: boolean;
  /** What was read of a sequential source before. */
  readonly readBytes?: number;
  readonly buffers: ReadBuffers;
  /** Begins the answer, once there is something to send: until then it may still become another. Absent where it has begun. */
  readonly begin?: () => void;
  /** Whether more of the answer follows: it is not ended then. */
  readonly hasMore?: boolean;
}

/** What is borrowed to be sent at once: as much as the largest buffer holds. */
const maxBorrowedBytes = 512 * 1024;

/**
 * Sends a stretch of a source, at the client's pace: one buffer is filled while the other is on its way. What lies in memory already is
 * sent from there. No stream object stands between the file and the socket, and what waits for the client is two buffers, its own or borrowed.
 * @throws when the source fails or ends early: the answer must then be cut, never finished.
 */
export async function sendStretch(
  response: ServerResponse,
  exchange: Exchange,
  options: StretchOptions,
): Promise<void> {
  const { source, start, end, buffers, isSequential, readBytes = 0, begin = () => {}, hasMore = false } = options;
  const pair = buffers.lend(end === undefined ? Infinity : end - start);
  let unsent: BorrowedBuffer | undefined;
  try {
    let position = isSequential ? await skip(source, { from: readBytes, to: start }, pair.buffers[0]) : start;
    let written: Promise<unknown> | undefined;
    for (let turn = 0; end === undefined || position < end; turn ^= 1) {
      const buffer = pair.buffers[turn === 0 ? 0 : 1];
      const wanted = end === undefined ? buffer : buffer.subarray(0, Math.min(buffer.byteLength, end - position));
      unsent = await source.borrow?.(position, Math.min(maxBorrowedBytes, (end ?? Infinity) - position));
      const bytes = unsent?.bytes ?? (await source.read(wanted, position));
      await written;
      if (bytes === 0 && end !== undefined) throw new Error(`the content ended at ${position}, before ${end}`);
      if (bytes === 0) break;
      if (!written) begin();
      written = unsent
        ? writeBorrowed(response, unsent)
        : unlessClosed(response, write(response, buffer.subarray(0, bytes)));
      unsent = undefined;
      written.catch(() => {}); // It is awaited a turn later; meanwhile the read may fail first.
      position += bytes;
      exchange.bytes += bytes;
    }
    if (!written) begin();
    await written;
    pair.release();
    if (!hasMore) response.end();
  } finally {
    unsent?.end();
    pair.discard();
  }
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

/** Resolves when the buffer is free again: its bytes are with the kernel. */
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
 * Settles as a write does, or when its answer is closed: what is written before an answer has its turn on a connection, or just as that
 * breaks, Node forgets, and calls nobody back.
 */
function unlessClosed(response: ServerResponse, written: Promise<unknown>): Promise<unknown> {
  return interruptible(written, (giveUp) => {
    const leave = (): void => giveUp(new ClientLeft());
    response.once('close', leave);
    return () => response.off('close', leave);
  });
}
