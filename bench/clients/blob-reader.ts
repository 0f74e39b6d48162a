import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { setTimeout as delay } from 'node:timers/promises';
import { AnswerReader } from './answer-reader.ts';

export interface BlobRead {
  readonly url: string;
  /** How often to pull it over the one connection. */
  readonly times: number;
  /** The receive buffer. Readers of one thread share it: each is done with it before the next one reads. */
  readonly buffer: Uint8Array;
  /** Called with every piece of every body. The piece is invalid after the call returns. */
  readonly onBody: (piece: Uint8Array) => void;
  /** The client reads no faster than this, until the signal aborts. */
  readonly pace?: { readonly bytesPerSecond: number; readonly until: AbortSignal };
  /** The client hangs up in the middle of the body. */
  readonly leaveAfterBytes?: number;
}

export interface BlobReadOutcome {
  /** Bytes in the body of the last response. */
  readonly size: number;
  /** Measured from before the connection was opened. */
  readonly firstByteMs: number;
}

/** A server that sends nothing for this long is broken, not slow. */
const silenceMs = 60_000;

/**
 * Pulls over a plain socket into one buffer, so that the client costs little more than the kernel's copying; or over TLS, without a look at
 * the certificate.
 * @throws Error if a response is not a 200 with a Content-Length, or the connection ends before the last body does.
 */
export async function readBlob(read: BlobRead): Promise<BlobReadOutcome> {
  const { url, times, buffer, onBody, pace, leaveAfterBytes = Infinity } = read;
  const { protocol, hostname, port, host, pathname } = new URL(url);
  const request = `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\nAccept-Encoding: identity\r\n\r\n`;
  const startedAtMs = performance.now();
  const answers = new AnswerReader(onBody);
  const { promise, resolve, reject } = Promise.withResolvers<BlobReadOutcome>();
  let firstByteMs: number | undefined;
  let answersLeft = times;
  let readBytes = 0;
  const onAnswered = () => {
    answersLeft -= 1;
    if (answersLeft > 0) socket.write(request);
    else resolve({ size: answers.size, firstByteMs: firstByteMs ?? Number.NaN });
  };
  const onRead = (piece: Uint8Array): boolean => {
    const bytes = piece.byteLength;
    firstByteMs ??= performance.now() - startedAtMs;
    readBytes += bytes;
    try {
      if (answers.take(piece)) onAnswered();
      else if (readBytes >= leaveAfterBytes) resolve({ size: readBytes, firstByteMs });
    } catch (cause) {
      reject(new Error(`reading ${url}`, { cause }));
    }
    if (pace === undefined || pace.until.aborted) return true;
    const proceed = () => socket.resume();
    void delay((bytes / pace.bytesPerSecond) * 1_000, undefined, { signal: pace.until }).then(proceed, proceed);
    return false;
  };
  const to = { host: hostname, port: Number(port) };
  const socket: Socket =
    protocol === 'https:'
      ? connectTls({ ...to, rejectUnauthorized: false }).on('data', (piece: Buffer) => onRead(piece))
      : connect({ ...to, onread: { buffer, callback: (bytes) => onRead(buffer.subarray(0, bytes)) } });
  socket.on('error', reject);
  socket.on('close', () => reject(new Error(`${url} ended ${answersLeft} answers too early`)));
  socket.setTimeout(silenceMs, () => reject(new Error(`${url} was silent for ${silenceMs} ms`)));
  socket.write(request);
  return promise.finally(() => socket.destroy());
}
