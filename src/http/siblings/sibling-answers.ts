import type { OutgoingHttpHeaders } from 'node:http';
import { type ServedBlob, UnreadableContent } from '../../mirror/blobs/served-blob.ts';
import type { HeldOptions } from '../../mirror/blobs/held-blobs.ts';
import type { HeldContent, NamedRepository } from '../../mirror/held-content.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { SiblingContentKind } from '../../mirror/ports/observer.ts';
import type { Digest } from '../../oci/digest.ts';
import { OciError } from '../../oci/errors.ts';
import type { SatisfiableRange } from '../../oci/range.ts';
import type { HttpContext } from '../server/context.ts';
import type { ExchangeState, RegistryContext } from '../server/exchange.ts';
import { type ReadBuffers, sendStretch } from '../response/body-pump.ts';
import { type LargeBodies, largeBytes } from '../response/memory-bodies.ts';
import {
  firstByteAskedFor,
  parseSiblingPath,
  partAskedFor,
  type SiblingResource,
  wantsAnswerAtOnce,
} from './sibling-request.ts';

export interface SiblingAnswersDeps {
  readonly replicaId: string;
  /** What siblings may read, under the rules of now. */
  readonly mirror: { readonly held: Pick<HeldContent, 'blob' | 'manifest' | 'tag' | 'visibility'> };
  readonly clock: Pick<Clock, 'now'>;
  readonly buffers: ReadBuffers;
  readonly large: LargeBodies;
  /** For tests. */
  readonly tellEveryMs?: number;
}

/** A sibling gives up a replica that sends nothing for five seconds. */
const usuallyEveryMs = 2_000;

export interface SiblingState extends ExchangeState {
  siblingKind?: SiblingContentKind;
}

/** @throws OciError for what is not here, and for what is no request of a sibling. */
export async function answerSibling(
  ctx: HttpContext & { state: SiblingState },
  deps: SiblingAnswersDeps,
): Promise<void> {
  if (ctx.method !== 'GET') {
    ctx.set('Allow', 'GET');
    throw new OciError('UNSUPPORTED', 'siblings only read');
  }
  const resource = parseSiblingPath(ctx.req.url ?? '');
  if (!resource) throw notHere();
  ctx.state.siblingKind = resource.kind;
  await answerResource(ctx, deps, resource);
}

async function answerResource(
  ctx: RegistryContext,
  deps: SiblingAnswersDeps,
  resource: SiblingResource,
): Promise<void> {
  const { held } = deps.mirror;
  const ageMs = (sinceMs: number) => ageOf(sinceMs, deps.clock.now());
  switch (resource.kind) {
    case 'ping':
      ctx.body = { replica: deps.replicaId };
      return;
    case 'blob':
      return answerBlob(ctx, deps, resource.named, resource.digest);
    case 'manifest':
      return answerManifest(ctx, deps, resource.named, resource.digest);
    case 'tag': {
      const { digest, mediaType, size, confirmedAtMs } = (await held.tag(resource.named, resource.tag)) ?? absent();
      ctx.body = { digest, mediaType, size, ageMs: ageMs(confirmedAtMs) };
      return;
    }
    case 'visibility': {
      const { verdict, askedAtMs } = (await held.visibility(resource.named)) ?? absent();
      ctx.body = { verdict, ageMs: ageMs(askedAtMs) };
      return;
    }
  }
}

/** What is from the future, because a clock was set back, counts as very old. Pure. */
export function ageOf(sinceMs: number, nowMs: number): number {
  return sinceMs <= nowMs ? nowMs - sinceMs : nowMs;
}

async function answerManifest(
  ctx: RegistryContext,
  deps: SiblingAnswersDeps,
  named: NamedRepository,
  digest: Digest,
): Promise<void> {
  const { exchange } = ctx.state;
  const { mirror, large } = deps;
  const found = await telling(ctx, deps, () => mirror.held.manifest(named, digest, waitingOf(ctx)));
  const { bytes, mediaType } = found ?? absent();
  const begin = () => {
    beginAnswer(ctx, 200, { 'Content-Type': mediaType, 'Content-Length': bytes.byteLength });
    exchange.bytes = bytes.byteLength;
  };
  if (bytes.byteLength > largeBytes) return large.send(ctx.res, { whole: bytes, body: bytes, begin }, exchange);
  begin();
  ctx.res.end(bytes);
}

/** Waits for content, and tells the sibling meanwhile that it still comes (102, RFC 2518 §10.1). */
async function telling<Value>(
  { res }: RegistryContext,
  { tellEveryMs = usuallyEveryMs }: SiblingAnswersDeps,
  find: () => Promise<Value>,
): Promise<Value> {
  const timer = setInterval(() => {
    if (!res.headersSent && !res.destroyed) res.writeProcessing();
  }, tellEveryMs);
  try {
    return await find();
  } finally {
    clearInterval(timer);
  }
}

/** A blob that cannot be read before its headers are sent is not here: its sibling finds it elsewhere. */
async function answerBlob(
  ctx: RegistryContext,
  deps: SiblingAnswersDeps,
  named: NamedRepository,
  digest: Digest,
): Promise<void> {
  const held = () => deps.mirror.held.blob(named, digest, waitingOf(ctx));
  const blob = (await telling(ctx, deps, held)) ?? absent();
  let closing: PromiseLike<void> | undefined;
  const close = () => (closing ??= blob.source[Symbol.asyncDispose]());
  // It must not wait for a download when the sibling has left.
  const leave = () => void close().then(undefined, () => {}); // It is awaited below.
  ctx.res.once('close', leave);
  try {
    if (!ctx.res.destroyed) await sendBlob(ctx, deps, blob);
  } catch (cause) {
    if (cause instanceof UnreadableContent && !ctx.headerSent) throw notHere();
    throw cause;
  } finally {
    ctx.res.off('close', leave);
    await close();
  }
}

async function sendBlob(ctx: RegistryContext, { buffers }: SiblingAnswersDeps, blob: ServedBlob): Promise<void> {
  const { size } = blob;
  const range = partOf(ctx, size);
  const [start, end] = range ? [range.start, range.end + 1] : [0, size];
  const headers: OutgoingHttpHeaders = { 'Content-Type': 'application/octet-stream' };
  if (size !== undefined) headers['Layerwell-Blob-Size'] = size;
  if (end !== undefined) headers['Content-Length'] = end - start;
  if (range) headers['Content-Range'] = `bytes ${start}-${range.end}/${size}`;
  const begin = () => beginAnswer(ctx, range ? 206 : 200, headers);
  const options = { ...blob, start, end, buffers };
  if (blob.cache.word === 'hit') return sendStretch(ctx.res, ctx.state.exchange, { ...options, begin });
  // What is still arriving may take a while, and the sibling waits only a few seconds for headers.
  begin();
  ctx.res.flushHeaders();
  return sendStretch(ctx.res, ctx.state.exchange, options);
}

/** @throws OciError RANGE_INVALID */
function partOf(ctx: RegistryContext, size: number | undefined): SatisfiableRange | undefined {
  const part = partAskedFor(ctx.headers.range, size);
  if (part !== 'unsatisfiable') return part;
  ctx.set('Content-Range', `bytes */${size}`);
  throw new OciError('RANGE_INVALID', 'the range lies outside the content');
}

function beginAnswer(ctx: RegistryContext, status: number, headers: OutgoingHttpHeaders): void {
  ctx.state.exchange.begin();
  ctx.res.writeHead(status, headers);
  ctx.respond = false;
}

function waitingOf(ctx: RegistryContext): HeldOptions {
  const { headers, state } = ctx;
  const atOnce = wantsAnswerAtOnce(headers['prefer']);
  return { signal: state.exchange.signal, atOnce, start: firstByteAskedFor(headers.range) };
}

/** One answer for all that is not here, or may not be read. */
function notHere(): OciError {
  return new OciError('BLOB_UNKNOWN', 'not here');
}

/** @throws OciError always. */
function absent(): never {
  throw notHere();
}
