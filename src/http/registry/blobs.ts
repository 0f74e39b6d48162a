import { type ServedBlob, UnreadableContent } from '../../mirror/blobs/served-blob.ts';
import type { LocatedRepository, Mirror } from '../../mirror/mirror.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Digest } from '../../oci/digest.ts';
import type { SeveralRanges } from '../../oci/range.ts';
import {
  type ContentAnswer,
  decideAnswer,
  hasAlready,
  partWanted,
  refuseTooManyRanges,
} from '../response/conditions.ts';
import { beginContent, type ContentFacts, sendBytes, sendFacts } from '../response/content-response.ts';
import { type ReadBuffers, sendStretch, type StretchOptions } from '../response/body-pump.ts';
import type { RegistryContext } from '../server/exchange.ts';
import type { Senders } from '../response/memory-bodies.ts';
import { multipartOf, sendMultipart } from '../response/multipart.ts';

export interface BlobAnswerDeps extends Senders {
  readonly mirror: Mirror;
  readonly clock: Clock;
  readonly buffers: ReadBuffers;
}

const mediaType = 'application/octet-stream';

/** HEAD of a blob. It never starts a download. */
export async function answerBlobHead(
  ctx: RegistryContext,
  deps: BlobAnswerDeps,
  located: LocatedRepository,
  digest: Digest,
): Promise<void> {
  const head = await deps.mirror.blobHead(located, digest, ctx.state.exchange);
  sendFacts(ctx, { ...head, digest, mediaType, ageMs: deps.clock.now() - head.firstServedAtMs });
}

/**
 * GET of a blob or of a part of it, from the store or from a running download. If the client has it already, it is answered like a HEAD, so
 * that nothing is downloaded for a 304. If the disk fails before the first bytes are sent, the blob comes from the upstream.
 */
export function answerBlob(
  ctx: RegistryContext,
  deps: BlobAnswerDeps,
  located: LocatedRepository,
  digest: Digest,
): Promise<void> | void {
  if (hasAlready(ctx.req, digest)) return answerBlobHead(ctx, deps, located, digest);
  refuseTooManyRanges(ctx.req, digest);
  const finding = deps.mirror.blobUrl(located, digest, ctx.state.exchange);
  const answer = () => answerFromHere(ctx, deps, located, digest);
  if (!finding) return answer();
  return finding.then((url) => (url === undefined ? answer() : redirectTo(ctx, url, digest)));
}

/** A blob in memory is answered before this returns. */
function answerFromHere(
  ctx: RegistryContext,
  deps: BlobAnswerDeps,
  located: LocatedRepository,
  digest: Digest,
): Promise<void> | void {
  const opened = open(ctx, deps, located, digest);
  if (!('then' in opened)) return answerWith(ctx, deps, opened, answerTo(ctx, opened));
  return answerOpened(ctx, deps, opened).catch(async (cause: unknown) => {
    if (!(cause instanceof UnreadableContent) || ctx.headerSent) throw cause;
    await answerOpened(ctx, deps, open(ctx, deps, located, digest));
  });
}

function open(
  ctx: RegistryContext,
  { mirror }: Pick<BlobAnswerDeps, 'mirror'>,
  located: LocatedRepository,
  digest: Digest,
): Promise<ServedBlob> | ServedBlob {
  const partOf = ctx.headers.range === undefined ? undefined : (size: number) => partWanted(ctx.req, digest, size);
  return mirror.blob(located, digest, ctx.state.exchange, partOf);
}

function answerTo({ req }: RegistryContext, { digest, size, ignoresRange }: ServedBlob): ContentAnswer {
  return ignoresRange ? { status: 200 } : decideAnswer(req, digest, size);
}

/** The URL carries a signature that expires: it is not to be stored (RFC 9111 §5.2.2.5), nor logged. */
function redirectTo(ctx: RegistryContext, url: string, digest: Digest): void {
  const { exchange } = ctx.state;
  exchange.cache = 'hit';
  exchange.begin();
  const headers = { Location: url, 'Docker-Content-Digest': digest, 'Cache-Control': 'no-store', 'Content-Length': 0 };
  ctx.res.writeHead(307, headers).end();
  ctx.respond = false;
}

async function answerOpened(
  ctx: RegistryContext,
  deps: BlobAnswerDeps,
  opened: Promise<ServedBlob> | ServedBlob,
): Promise<void> {
  const blob = await opened;
  let closing: PromiseLike<void> | undefined;
  const close = () => (closing ??= blob.source[Symbol.asyncDispose]());
  // A reader must not wait for a download when its client has left.
  const leave = () => void close().then(undefined, () => {}); // It is awaited below.
  ctx.res.once('close', leave);
  try {
    if (ctx.res.destroyed) return;
    await answerWith(ctx, deps, blob, answerTo(ctx, blob));
  } finally {
    ctx.res.off('close', leave);
    await close();
  }
}

function answerWith(
  ctx: RegistryContext,
  { clock, buffers, small, large }: BlobAnswerDeps,
  blob: ServedBlob,
  answer: ContentAnswer,
): Promise<void> | void {
  const { exchange } = ctx.state;
  const { digest, size, cache } = blob;
  const facts = { digest, mediaType, size, cache, ageMs: clock.now() - blob.firstServedAtMs };
  if ('ranges' in answer) return sendSeveral(ctx, { buffers }, blob, facts, answer);
  if (blob.bytes && blob.cache.word === 'hit') return sendBytes(ctx, facts, blob.bytes, { small, large });
  const begin = () => beginContent(ctx, facts, answer);
  if (answer.status === 200) {
    const whole = { ...blob, start: 0, end: blob.size, buffers };
    return sendStretch(ctx.res, exchange, { ...whole, ...whenToBegin(ctx, blob, begin) });
  }
  if (answer.status !== 206) {
    begin();
    ctx.res.end();
    return;
  }
  const { start, end } = answer.range;
  return sendStretch(ctx.res, exchange, { ...blob, start, end: end + 1, buffers, ...whenToBegin(ctx, blob, begin) });
}

async function sendSeveral(
  ctx: RegistryContext,
  { buffers }: Pick<BlobAnswerDeps, 'buffers'>,
  blob: ServedBlob,
  facts: ContentFacts,
  { ranges, size }: SeveralRanges & { readonly size: number },
): Promise<void> {
  const multipart = multipartOf(ranges, { mediaType, size });
  const begin = () => beginContent(ctx, facts, { status: 206, multipart });
  const options = { ...blob, buffers, ...whenToBegin(ctx, blob, begin) };
  await sendMultipart(ctx.res, ctx.state.exchange, options, multipart);
}

/**
 * Node sends headers with the first bytes of the body. Those of a miss may take long, and containerd waits only 30 s for headers (containerd
 * #13164), so its headers are sent at once. A hit saves the packet, and a disk that hangs is still answered with an error.
 */
function whenToBegin(ctx: RegistryContext, { cache }: ServedBlob, begin: () => void): Pick<StretchOptions, 'begin'> {
  if (cache.word === 'hit') return { begin };
  begin();
  ctx.res.flushHeaders();
  return {};
}
