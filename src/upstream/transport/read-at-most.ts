import type { Readable } from 'node:stream';
import type { MemoryReservation } from '../../mirror/ports/memory.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../oci/errors.ts';
import { contentLengthOf, type Answer } from './answer.ts';
import { parseJson } from '../../oci/json.ts';

/** The limit for short bodies: errors, challenges, tokens. */
export const maxSmallBodyBytes = 64 * 1024;

/** Deadline for such a body, or a manifest. After it no client waits any more, and the body must not hold a connection and memory. */
const allWithinMs = 60_000;

/**
 * The whole body of an answer. A body above {@link maxSmallBodyBytes} waits for the memory budget; the caller reserves memory for it by
 * the next turn of the event loop.
 * @throws UpstreamError misbehaving, and drops the connection, when it is longer than `maxBytes`; likewise timeout when it is not complete
 * within a minute, and connect when it was cut; the signal's reason when it aborts.
 */
export async function readAtMost(
  { url, headers, body }: Answer,
  maxBytes: number,
  { signal, withinMs = allWithinMs }: Partial<Waiting> & { readonly withinMs?: number } = {},
): Promise<Buffer> {
  const tooLong = () => new UpstreamError('misbehaving', `${url.host} sent a body larger than ${maxBytes} bytes`);
  const claimedBytes = contentLengthOf(headers);
  if ((claimedBytes ?? 0) > maxBytes) {
    body.destroy();
    throw tooLong();
  }
  const gathered = new GatheredBody();
  let reservation: MemoryReservation | undefined;
  const late = () => new UpstreamError('timeout', `${url.host} did not send all of an answer within ${withinMs} ms`);
  const timer = setTimeout(() => body.destroy(late()), withinMs);
  try {
    for await (const chunk of piecesOf(body)) {
      if (gathered.bytes + chunk.length > maxBytes) throw tooLong();
      gathered.add(chunk);
      if (!signal || !body.memory || reservation || gathered.bytes <= maxSmallBodyBytes) continue;
      reservation = await body.memory.reserve(claimedBytes ?? maxBytes, { signal });
      if (claimedBytes !== undefined) gathered.allocate(claimedBytes);
    }
    const bytes = gathered.whole();
    if (endsWithConnection(headers) && isCutObject(bytes))
      throw new UpstreamError('connect', `${url.host} closed the connection within the body`);
    return bytes;
  } finally {
    clearTimeout(timer);
    if (reservation) setImmediate(() => reservation?.release());
  }
}

/** The chunks of a body. */
class GatheredBody {
  #pieces: Buffer[] = [];
  #whole: Buffer | undefined;
  bytes = 0;

  /** From now on the chunks of a body of known length are copied into one buffer, so that it is not in memory twice. */
  allocate(bytes: number): void {
    const whole = Buffer.allocUnsafeSlow(bytes);
    this.whole().copy(whole);
    this.#whole = whole;
    this.#pieces = [];
  }

  /** The HTTP parser accepts no more bytes than Content-Length. */
  add(piece: Buffer): void {
    if (this.#whole) piece.copy(this.#whole, this.bytes);
    else this.#pieces.push(piece);
    this.bytes += piece.length;
  }

  whole(): Buffer {
    return this.#whole?.subarray(0, this.bytes) ?? Buffer.concat(this.#pieces, this.bytes);
  }
}

/** Reads a short body to its end, so that the connection can be reused; drops a long one. Never fails. */
export async function discard(answer: Answer): Promise<void> {
  await readAtMost(answer, maxSmallBodyBytes).catch(() => undefined);
}

/** Without a length the end of the connection ends the body (RFC 9112 §6.3), and a cut body looks the same. */
function endsWithConnection(headers: Answer['headers']): boolean {
  return headers['content-length'] === undefined && headers['transfer-encoding'] === undefined;
}

/** Manifests, lists and tokens are JSON objects. */
function isCutObject(bytes: Buffer): boolean {
  return bytes[0] === 0x7b && parseJson(bytes) === undefined;
}

function piecesOf(body: Readable): AsyncIterable<Buffer> {
  return body;
}
