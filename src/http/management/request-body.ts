import type { IncomingMessage } from 'node:http';
import { parseJson } from '../../oci/json.ts';
import { hasBody, Problem } from './problems.ts';

/** The largest body of a request to the API. */
const maxBodyBytes = 64 * 1024;
const arrivesWithinMs = 10_000;

/** Bodies that arrive at the same time, of at most 64 KiB each. Who sends one need not have shown a token. */
export const maxArriving = 256;

/** Requests that run at the same time; every one of them is small. */
export const maxRunning = 32;

/** Bounds how much is done at the same time: what comes beyond it is refused at once. */
export class RequestLimit {
  readonly #most: number;
  #running = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** @throws Problem when too many run already, and whatever the work throws. */
  async run<Answer>(work: () => Promise<Answer>): Promise<Answer> {
    if (this.#running >= this.#most) {
      throw new Problem('unavailable', 'too many requests run', { headers: { 'Retry-After': '1' } });
    }
    this.#running += 1;
    try {
      return await work();
    } finally {
      this.#running -= 1;
    }
  }
}

export interface BodyOptions {
  /** For tests. */
  readonly withinMs?: number;
}

/**
 * Reads a JSON body.
 * @returns undefined for a request without a body.
 * @throws Problem for a body that is not JSON, has more than 64 KiB, or does not arrive within ten seconds.
 */
export async function readJsonBody(request: IncomingMessage, options: BodyOptions = {}): Promise<unknown> {
  if (!hasBody(request.headers)) return undefined;
  if (!/^application\/json *(?:;|$)/i.test(request.headers['content-type'] ?? '')) {
    throw new Problem('not-json', 'the Content-Type is not application/json');
  }
  const value = parseJson(await readWhole(request, options));
  if (value === undefined) throw new Problem('invalid-request', 'the body is not valid JSON');
  return value;
}

/** For a body that is read as it arrives. @throws Problem if it has another type. */
export function requireType({ headers }: Pick<IncomingMessage, 'headers'>, type: string): void {
  const [given = ''] = (headers['content-type'] ?? '').split(';', 1);
  if (given.trim().toLowerCase() !== type) throw new Problem('wrong-type', `the Content-Type is not ${type}`);
}

/**
 * Reads the fields of a form.
 * @throws Problem for a body that is no form, has more than 64 KiB, or does not arrive within ten seconds.
 */
export async function readForm(request: IncomingMessage, options: BodyOptions = {}): Promise<URLSearchParams> {
  if (!/^application\/x-www-form-urlencoded *(?:;|$)/i.test(request.headers['content-type'] ?? '')) {
    throw new Problem('invalid-request', 'the body is no form');
  }
  return new URLSearchParams((await readWhole(request, options)).toString());
}

async function readWhole(request: IncomingMessage, { withinMs = arrivesWithinMs }: BodyOptions): Promise<Buffer> {
  if (Number(request.headers['content-length'] ?? 0) > maxBodyBytes) throw tooLarge();
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
