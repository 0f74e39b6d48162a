import type { IncomingMessage } from 'node:http';
import { parseJson } from '../../oci/json.ts';
import { hasBody, Problem } from './problems.ts';

/** The largest body of a request to the API. */
export const maxBodyBytes = 64 * 1024;
const arrivesWithinMs = 10_000;

export interface JsonBodyOptions {
  /** For tests. */
  readonly withinMs?: number;
}

/**
 * Reads a JSON body.
 * @returns undefined for a request without a body.
 * @throws Problem for a body that is not JSON, has more than 64 KiB, or does not arrive within ten seconds.
 */
export async function readJsonBody(
  request: IncomingMessage,
  { withinMs = arrivesWithinMs }: JsonBodyOptions = {},
): Promise<unknown> {
  const { headers } = request;
  if (!hasBody(headers)) return undefined;
  if (!/^application\/json *(?:;|$)/i.test(headers['content-type'] ?? '')) {
    throw new Problem('not-json', 'the Content-Type is not application/json');
  }
  if (Number(headers['content-length'] ?? 0) > maxBodyBytes) throw tooLarge();
  const value = parseJson(await readWhole(request, withinMs));
  if (value === undefined) throw new Problem('invalid-request', 'the body is not valid JSON');
  return value;
}

function readWhole(request: IncomingMessage, withinMs: number): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const pieces: Buffer[] = [];
  let bytes = 0;
  const late = setTimeout(() => reject(new Problem('too-slow', `the body took more than ${withinMs} ms`)), withinMs);
  const take = (piece: Buffer) => {
    bytes += piece.byteLength;
    if (bytes > maxBodyBytes) reject(tooLarge());
    else pieces.push(piece);
  };
  const cut = () => reject(new Problem('invalid-request', 'the connection closed before the end of the body'));
  const end = () => resolve(Buffer.concat(pieces));
  request.on('data', take).once('end', end).once('error', cut).once('close', cut);
  return promise.finally(() => {
    clearTimeout(late);
    request.pause().off('data', take).off('end', end).off('error', cut).off('close', cut);
    request.on('error', () => {}); // What comes after an answer does not matter.
  });
}

function tooLarge(): Problem {
  return new Problem('too-large', `the body has more than ${maxBodyBytes} bytes`);
}
