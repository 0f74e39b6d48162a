import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { interruptible } from '../../mirror/concurrency/abortable-wait.ts';
import type { ByteSource, Loan } from '../../mirror/ports/byte-source.ts';
import type { CacheStatus } from '../../mirror/ports/cache-status.ts';
import type { Digest } from '../../oci/digest.ts';
import { OciError } from '../../oci/errors.ts';
import {
  hasTooManyRanges,
  maxRanges,
  parseRange,
  type RequestedRange,
  type SatisfiableRange,
} from '../../oci/range.ts';
import type { AnswersTogether } from './answers-together.ts';
import { cacheStatusHeader } from './cache-status.ts';
import { ClientLeft, type Exchange, type RegistryContext } from '../registry/exchange.ts';
import type { ReadBuffers } from './read-buffers.ts';
import { type LargeBodies, largeBytes } from './large-bodies.ts';
import type { Multipart } from './multipart.ts';

/** What is said of content, whole or in part, with or without its body. */
export interface ContentFacts {
  readonly digest: Digest;
  readonly mediaType: string;
  /** Undefined: not known yet, so the answer is chunked and has no ranges. */
  readonly size: number | undefined;
  readonly cache: CacheStatus;
  readonly ageMs: number;
}

export type ContentAnswer =
  | { readonly status: 200 }
  | { readonly status: 206; readonly range: SatisfiableRange }
  | { readonly status: 206; readonly ranges: readonly SatisfiableRange[]; readonly size: number }
  | { readonly status: 304 }
  | { readonly status: 416 };

/** The part of a request that chooses what of the content is answered. */
type Conditions = Pick<IncomingMessage, 'method' | 'headers'>;

/**
 * What to answer to the conditions of a GET or HEAD, by RFC 9110 §13.2.2: If-None-Match, then Range if If-Range holds. Ranges are for GET
 * (§14.2). Pure.
 */
export function decideAnswer({ method, headers }: Conditions, digest: Digest, size: number | undefined): ContentAnswer {
  if (matchesTag(headers['if-none-match'], digest)) return { status: 304 };
  if (method !== 'GET' || size === undefined) return { status: 200 };
  const range = parseRange(rangeHeader(headers, digest), size);
  if (range === 'unsatisfiable') return { status: 416 };
  if (range === 'whole') return { status: 200 };
  return 'ranges' in range ? { status: 206, ranges: range.ranges, size } : { status: 206, range };
}

/** Undefined as well where the client has a part of something else. */
function rangeHeader(headers: IncomingHttpHeaders, digest: Digest): string | undefined {
  const ifRange = headers['if-range'];
  return ifRange === undefined || ifRange === etagOf(digest) ? headers.range : undefined;
}

/** @throws OciError RANGES_TOO_MANY for a request of more ranges than are answered. */
export function refuseTooManyRanges({ headers }: Conditions, digest: Digest): void {
  if (hasTooManyRanges(rangeHeader(headers, digest)))
    throw new OciError('RANGES_TOO_MANY', `a request may ask for at most ${maxRanges} ranges`);
}

/** What of the content a GET asks for. Pure. */
export function partWanted({ headers }: Conditions, digest: Digest, size: number): RequestedRange {
  return parseRange(rangeHeader(headers, digest), size);
}

/** Whether a GET asks for the content only if it is another than the client has. Pure. */
export function isConditional({ headers }: Conditions): boolean {
  return headers['if-none-match'] !== undefined;
}

/** Whether the client has this content already: it needs no body, wherever that is. Pure. */
export function hasAlready({ headers }: Conditions, digest: Digest): boolean {
  return matchesTag(headers['if-none-match'], digest);
}

function matchesTag(ifNoneMatch: string | undefined, digest: Digest): boolean {
  if (ifNoneMatch === undefined) return false;
  if (ifNoneMatch.trim() === '*') return true;
  return ifNoneMatch.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etagOf(digest));
}

function etagOf(digest: Digest): string {
  return `"${digest}"`;
}

/** What every answer of the registry says. */
export const commonHeaders = {
  'Docker-Distribution-Api-Version': 'registry/2.0',
  'X-Content-Type-Options': 'nosniff',
} as const;

/** What beginContent can write. */
type Begun =
  | Exclude<ContentAnswer, { readonly ranges: unknown }>
  | { readonly status: 206; readonly multipart: Multipart };

/** Writes status and headers; Koa's own response is not used for content. @throws OciError RANGE_INVALID for a 416. */
export function beginContent(ctx: RegistryContext, facts: ContentFacts, answer: Begun): void {
  const { exchange } = ctx.state;
  const { digest, size, mediaType, cache, ageMs } = facts;
  exchange.cache = cache.word;
  exchange.staleReason = cache.reason;
  if (answer.status === 416) {
    ctx.set('Content-Range', `bytes */${size ?? '*'}`);
    throw new OciError('RANGE_INVALID', 'the range lies outside the content');
  }
  const headers: OutgoingHttpHeaders = {
    ...commonHeaders,
    'Docker-Content-Digest': digest,
    ETag: etagOf(digest),
    'Accept-Ranges': 'bytes',
    Age: Math.max(0, Math.floor(ageMs / 1000)),
  };
  const cacheStatus = cacheStatusHeader(cache);
  if (cacheStatus !== undefined) headers['Cache-Status'] = cacheStatus;
  if (answer.status !== 304) headers['Content-Type'] = mediaType;
  if (answer.status === 200 && size !== undefined) headers['Content-Length'] = size;
  if (answer.status === 206) {
    if ('multipart' in answer) {
      headers['Content-Type'] = answer.multipart.contentType;
      headers['Content-Length'] = answer.multipart.contentLength;
    } else {
      const { start, end } = answer.range;
      headers['Content-Length'] = end - start + 1;
      headers['Content-Range'] = `bytes ${start}-${end}/${size}`;
    }
  }
  exchange.begin();
  ctx.res.writeHead(answer.status, headers);
  ctx.respond = false;
}

/** Sends what is said of content, and no content. */
export function sendFacts(ctx: RegistryContext, facts: ContentFacts): void {
  beginContent(ctx, facts, inOnePiece(decideAnswer(ctx.req, facts.digest, facts.size)));
  ctx.res.end();
}

/** Several ranges are ignored where the whole is small (RFC 9110 §14.2). */
function inOnePiece(answer: ContentAnswer): Exclude<ContentAnswer, { readonly ranges: unknown }> {
  return 'ranges' in answer ? { status: 200 } : answer;
}

/** How what is in memory is sent: small bodies together with others, large ones at the client's pace. */
export interface Senders {
  readonly together: AnswersTogether;
  readonly large: LargeBodies;
}

/** Sends content that is in memory. @throws when a large body cannot be sent to its end: the answer must then be cut. */
export function sendBytes(
  ctx: RegistryContext,
  facts: ContentFacts,
  bytes: Uint8Array,
  { together, large }: Senders,
): Promise<void> | void {
  const { exchange } = ctx.state;
  const answer = inOnePiece(decideAnswer(ctx.req, facts.digest, facts.size));
  const body = answer.status === 206 ? bytes.subarray(answer.range.start, answer.range.end + 1) : bytes;
  const begin = () => {
    beginContent(ctx, facts, answer);
    exchange.bytes = body.byteLength;
  };
  if (body.byteLength > largeBytes && (answer.status === 200 || answer.status === 206))
    return large.send(ctx.res, { whole: bytes, body, begin }, exchange);
  beginContent(ctx, facts, answer);
  if (answer.status === 304) {
    ctx.res.end();
    return;
  }
  exchange.bytes = body.byteLength;
  together.end(ctx.res, body);
}

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
const maxLoanBytes = 512 * 1024;

/**
 * Sends a stretch of a source, at the client's pace: one buffer is filled while the other is on its way. What lies in memory already is
 * sent from there. No stream object stands between the file and the socket, and what waits for the client is two buffers or loans.
 * @throws when the source fails or ends early: the answer must then be cut, never finished.
 */
export async function sendStretch(
  response: ServerResponse,
  exchange: Exchange,
  options: StretchOptions,
): Promise<void> {
  const { source, start, end, buffers, isSequential, readBytes = 0, begin = () => {}, hasMore = false } = options;
  const pair = buffers.lend(end === undefined ? Infinity : end - start);
  let unsent: Loan | undefined;
  try {
    let position = isSequential ? await skip(source, { from: readBytes, to: start }, pair.buffers[0]) : start;
    let written: Promise<unknown> | undefined;
    for (let turn = 0; end === undefined || position < end; turn ^= 1) {
      const buffer = pair.buffers[turn === 0 ? 0 : 1];
      const wanted = end === undefined ? buffer : buffer.subarray(0, Math.min(buffer.byteLength, end - position));
      unsent = await source.lend?.(position, Math.min(maxLoanBytes, (end ?? Infinity) - position));
      const bytes = unsent?.bytes ?? (await source.read(wanted, position));
      await written;
      if (bytes === 0 && end !== undefined) throw new Error(`the content ended at ${position}, before ${end}`);
      if (bytes === 0) break;
      if (!written) begin();
      written = unsent
        ? writeLent(response, unsent)
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

/** Resolves when the loan has ended. One call of the kernel takes all its pieces. */
async function writeLent(response: ServerResponse, loan: Loan): Promise<void> {
  try {
    response.cork();
    const written = unlessClosed(response, Promise.all(loan.pieces.map((piece) => write(response, piece))));
    response.uncork();
    await written;
  } finally {
    loan.end();
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
