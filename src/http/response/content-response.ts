import type { OutgoingHttpHeaders } from 'node:http';
import type { CacheStatus } from '../../mirror/ports/cache-status.ts';
import type { Digest } from '../../oci/digest.ts';
import { OciError } from '../../oci/errors.ts';
import type { RegistryContext } from '../server/exchange.ts';
import { type ContentAnswer, decideAnswer, etagOf } from './conditions.ts';
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

/** The Cache-Status header of RFC 9211 for one answer: a member for each cache that it came through, the one nearest to the upstream first. */
export function cacheStatusHeader(status: CacheStatus): string | undefined {
  const own = ownMember(status);
  return own === undefined || status.via === undefined ? own : `layerwell-${status.via}, ${own}`;
}

function ownMember(status: CacheStatus): string | undefined {
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
