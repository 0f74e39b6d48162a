import type { Readable } from 'node:stream';
import { UpstreamError } from '../oci/errors.ts';
import { contentLengthOf } from './answer-headers.ts';
import type { Answer } from './exchange.ts';

/** For bodies nobody wants in full: errors, challenges, tokens. */
export const maxSmallBodyBytes = 64 * 1024;

/**
 * The whole body of an answer.
 * @throws UpstreamError misbehaving, and drops the connection, when it is longer than `maxBytes`.
 */
export async function readAtMost({ url, headers, body }: Answer, maxBytes: number): Promise<Buffer> {
  const tooLong = () =>
    new UpstreamError('misbehaving', `${url.host} sent more than ${maxBytes} bytes where it should not`);
  if ((contentLengthOf(headers) ?? 0) > maxBytes) {
    body.destroy();
    throw tooLong();
  }
  const chunks: Buffer[] = [];
  let received = 0;
  for await (const chunk of piecesOf(body)) {
    received += chunk.length;
    if (received > maxBytes) throw tooLong();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, received);
}

/** Reads a short body to its end, so that the connection can be used again; drops a long one. Never fails. */
export async function discard(answer: Answer): Promise<void> {
  await readAtMost(answer, maxSmallBodyBytes).catch(() => undefined);
}

function piecesOf(body: Readable): AsyncIterable<Buffer> {
  return body;
}
