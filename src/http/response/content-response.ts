import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from 'node:http';
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
import type { RegistryContext } from '../registry/exchange.ts';
import { largeBytes, type Senders } from './memory-bodies.ts';
import type { Multipart } from './multipart.ts';

/** The facts that the headers of an answer state about its content. */
export interface ContentFacts {
  readonly digest: Digest;
  readonly mediaType: string;
  /** Undefined while it is unknown: the answer is chunked and has no ranges. */
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

/** The part of a request that conditions and ranges are read from. */
type Conditions = Pick<IncomingMessage, 'method' | 'headers'>;

/**
 * What to answer to the conditions of a GET or HEAD, by RFC 9110 §13.2.2: If-None-Match, then Range if If-Range holds. Ranges are for GET
 * (§14.2). Pure.
 */
export function decideAnswer({ method, headers }: Conditions, digest: Digest, size: number | undefined): ContentAnswer {
  if (hasAlready({ headers }, digest)) return { status: 304 };
  if (method !== 'GET' || size === undefined) return { status: 200 };
  const header = rangeHeader(headers, digest);
  if (header === undefined) return { status: 200 };
  const range = parseRange(header, size);
  if (range === 'unsatisfiable') return { status: 416 };
  if (range === 'whole') return { status: 200 };
  return 'ranges' in range ? { status: 206, ranges: range.ranges, size } : { status: 206, range };
}

/** Undefined also when If-Range does not match: the client has a part of other content. */
function rangeHeader(headers: IncomingHttpHeaders, digest: Digest): string | undefined {
  const ifRange = headers['if-range'];
  return ifRange === undefined || ifRange === etagOf(digest) ? headers.range : undefined;
}

/** @throws OciError RANGES_TOO_MANY for a request of more ranges than are answered. */
export function refuseTooManyRanges({ headers }: Conditions, digest: Digest): void {
  const header = rangeHeader(headers, digest);
  if (header !== undefined && hasTooManyRanges(header))
    throw new OciError('RANGES_TOO_MANY', `a request may ask for at most ${maxRanges} ranges`);
}

/** The part of the content that a GET asks for. Pure. */
export function partWanted({ headers }: Conditions, digest: Digest, size: number): RequestedRange {
  return parseRange(rangeHeader(headers, digest), size);
}

/** Whether a GET has a condition. Pure. */
export function isConditional({ headers }: Conditions): boolean {
  return headers['if-none-match'] !== undefined;
}

/** Whether the client already has this content, by its If-None-Match. Pure. */
export function hasAlready({ headers }: Pick<Conditions, 'headers'>, digest: Digest): boolean {
  const ifNoneMatch = headers['if-none-match'];
  if (ifNoneMatch === undefined) return false;
  if (ifNoneMatch.trim() === '*') return true;
  return ifNoneMatch.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etagOf(digest));
}

function etagOf(digest: Digest): string {
  return `"${digest}"`;
}

/** The Cache-Status header of RFC 9211 for one answer. */
export function cacheStatusHeader(status: CacheStatus): string | undefined {
  const asked = status.upstreamStatus === undefined ? '' : `; fwd-status=${status.upstreamStatus}`;
  switch (status.word) {
    case 'hit':
      return 'layerwell; hit';
    case 'negative':
      return 'layerwell; hit; detail=negative';
    case 'revalidated':
      return `layerwell; fwd=stale${asked}; detail=revalidated`;
    case 'stale':
      return `layerwell; fwd=stale${asked}; detail=stale`;
    case 'collapsed':
      return `layerwell; fwd=uri-miss${asked}; collapsed`;
    case 'miss':
      return `layerwell; fwd=uri-miss${asked}${status.stored ? '; stored' : ''}`;
    case 'none':
      return undefined;
  }
}

/** The headers of every answer of the registry. */
export const commonHeaders = {
  'Docker-Distribution-Api-Version': 'registry/2.0',
  'X-Content-Type-Options': 'nosniff',
} as const;

/** The answers that beginContent can write. */
type Begun =
  | Exclude<ContentAnswer, { readonly ranges: unknown }>
  | { readonly status: 206; readonly multipart: Multipart };

/** Writes status and headers, past Koa's own response. @throws OciError RANGE_INVALID for a 416. */
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

/** Sends the headers of an answer without a body. */
export function sendFacts(ctx: RegistryContext, facts: ContentFacts): void {
  beginContent(ctx, facts, inOnePiece(decideAnswer(ctx.req, facts.digest, facts.size)));
  ctx.res.end();
}

/** Content in memory is small: several ranges of it are answered with the whole (RFC 9110 §14.2). */
function inOnePiece(answer: ContentAnswer): Exclude<ContentAnswer, { readonly ranges: unknown }> {
  return 'ranges' in answer ? { status: 200 } : answer;
}

/** Sends content that is in memory. @throws when a large body cannot be sent to its end: the answer must then be cut. */
export function sendBytes(
  ctx: RegistryContext,
  facts: ContentFacts,
  bytes: Uint8Array,
  { small, large }: Senders,
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
  small.send(ctx.res, body);
}
