import { createHash } from 'node:crypto';
import { type Agent, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { type Agent as TlsAgent, request as tlsRequest } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Digest, digestFrom } from '../../src/oci/digest.ts';

export interface Asking {
  /** `http://host:port`, or `https://` with an agent for it. */
  readonly origin: string;
  readonly path: string;
  readonly method?: 'GET' | 'HEAD';
  readonly range?: string | undefined;
  readonly agent: Agent | TlsAgent;
  /** Leaves after receiving this many bytes of the body. */
  readonly leaveAfterBytes?: number | undefined;
  /** Leaves after this time, whatever has arrived. */
  readonly leaveAfterMs?: number | undefined;
  /** Pauses this long after each piece of the body. */
  readonly restMs?: number | undefined;
}

/** How a response ended. */
export type AnswerEnd =
  | 'complete'
  /** The connection broke before the end of the body. */
  | 'cut'
  /** No response: the connection was refused, or broke before the headers. */
  | 'unreachable'
  /** The client left. */
  | 'left'
  /** The headers or the next bytes of the body took longer than any client waits. */
  | 'hung';

export interface Answered {
  readonly end: AnswerEnd;
  /** 0 without a response. */
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The digest of the body, if it was complete. */
  readonly digest: Digest | undefined;
  readonly bytes: number;
  /** The beginning of the body; all of it if it is small. */
  readonly beginning: Buffer;
  readonly fromMs: number;
  readonly toMs: number;
}

/** containerd waits 30 s for headers; the mirror promises them within 25 s. */
const headersWithinMs = 27_000;
const silenceMs = 40_000;
const beginningBytes = 1024 * 1024;

/** Sends one request, and reads and hashes the response. Never rejects: the result says what failed. */
export async function ask(asking: Asking): Promise<Answered> {
  const fromMs = performance.now();
  const { response, failure } = await headersOf(asking);
  if (!response) return { ...nothing, end: failure, fromMs, toMs: performance.now() };
  const read = await readBody(response, asking);
  const { statusCode = 0, headers } = response;
  return { status: statusCode, headers, ...read, fromMs, toMs: performance.now() };
}

const nothing = { status: 0, headers: {}, digest: undefined, bytes: 0, beginning: Buffer.alloc(0) };

type Headers =
  | { readonly response: IncomingMessage; readonly failure: undefined }
  | { readonly response: undefined; readonly failure: 'unreachable' | 'hung' | 'left' };

function headersOf({ origin, path, method = 'GET', range, agent, leaveAfterMs }: Asking): Promise<Headers> {
  const { promise, resolve } = Promise.withResolvers<Headers>();
  const open = origin.startsWith('https:') ? tlsRequest : request;
  const asked = open(`${origin}${path}`, { method, agent, headers: range === undefined ? {} : { range } });
  const giveUp = (failure: 'hung' | 'left'): void => {
    resolve({ response: undefined, failure });
    asked.destroy();
  };
  const waitsForDeadline = leaveAfterMs === undefined || leaveAfterMs > headersWithinMs;
  const timer = setTimeout(
    () => giveUp(waitsForDeadline ? 'hung' : 'left'),
    Math.min(headersWithinMs, leaveAfterMs ?? Infinity),
  );
  asked.once('response', (response) => resolve({ response, failure: undefined }));
  asked.on('error', () => resolve({ response: undefined, failure: 'unreachable' }));
  asked.end();
  return promise.finally(() => clearTimeout(timer));
}

async function readBody(
  response: IncomingMessage,
  { leaveAfterBytes = Infinity, leaveAfterMs, restMs = 0 }: Asking,
): Promise<Pick<Answered, 'end' | 'digest' | 'bytes' | 'beginning'>> {
  const hash = createHash('sha256');
  const beginning: Buffer[] = [];
  let bytes = 0;
  let end: AnswerEnd = 'complete';
  const silence = setTimeout(() => {
    end = 'hung';
    response.destroy();
  }, silenceMs);
  const leaving =
    leaveAfterMs === undefined
      ? undefined
      : setTimeout(() => {
          end = 'left';
          response.destroy();
        }, leaveAfterMs);
  try {
    const pieces: AsyncIterable<Buffer> = response;
    for await (const piece of pieces) {
      silence.refresh();
      hash.update(piece);
      if (bytes < beginningBytes) beginning.push(piece);
      bytes += piece.length;
      if (bytes >= leaveAfterBytes)
        return { end: 'left', digest: undefined, bytes, beginning: Buffer.concat(beginning) };
      if (restMs > 0) await sleep(restMs);
    }
    if (!response.complete) end = 'cut';
  } catch {
    if (end === 'complete') end = 'cut';
  } finally {
    clearTimeout(silence);
    clearTimeout(leaving);
  }
  const digest = end === 'complete' ? digestFrom(hash, 'sha256') : undefined;
  return { end, digest, bytes, beginning: Buffer.concat(beginning) };
}
