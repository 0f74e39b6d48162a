import type { ServerResponse } from 'node:http';
import { interruptible } from '../../mirror/concurrency/abortable-wait.ts';
import type { ByteSource, BorrowedBuffer } from '../../mirror/ports/byte-source.ts';
import { ClientLeft, type Exchange } from '../registry/exchange.ts';
import type { ReadBuffers } from './read-buffers.ts';

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

/** The most bytes that are borrowed at a time: as many as the largest read buffer holds. */
const maxBorrowedBytes = 512 * 1024;

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
  const pair = buffers.take(end === undefined ? Infinity : end - start);
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
      written.catch(() => {}); // It is awaited a turn later; the read may fail before.
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
