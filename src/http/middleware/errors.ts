import type { IncomingMessage, ServerResponse } from 'node:http';
import { TLSSocket } from 'node:tls';
import type { Context, Middleware } from 'koa';
import { RememberedNotFound } from '../../mirror/concurrency/remembered.ts';
import { OciError, UpstreamError } from '../../oci/errors.ts';
import { commonHeaders } from '../response/content-response.ts';
import { ClientLeft, type ExchangeState } from '../server/exchange.ts';

/** Retry-After for clients, when the upstream sent none. */
const defaultRetryAfterSeconds = 10;

/** Answers errors with the spec's error body. An unexpected error is a bug: it is answered 500, and reported with its stack. */
export function answerErrors(report: (bug: unknown, requestId?: string) => void): Middleware<ExchangeState> {
  return async (ctx, next) => {
    try {
      await ctx.state.exchange.inTime(next());
    } catch (error) {
      const isKnown = error instanceof OciError || error instanceof UpstreamError;
      const { requestId } = ctx.state.exchange;
      if (!isKnown && !isClientGone(error, ctx.res)) report(error, requestId);
      if (ctx.headerSent || ctx.res.destroyed) {
        // Koa would leave the socket open, and the client would wait for the rest.
        ctx.respond = false;
        cut(ctx);
        return;
      }
      if (error instanceof RememberedNotFound) {
        ctx.state.exchange.cache = 'negative';
        ctx.set('Cache-Status', 'layerwell; hit; detail=negative');
      }
      if (error instanceof UpstreamError) setRetryAfter(ctx, error);
      ctx.set(commonHeaders);
      if (requestId !== undefined) ctx.set('X-Request-Id', requestId);
      ctx.status = isKnown ? error.status : 500;
      ctx.body = { errors: [bodyOf(error)] };
    }
  };
}

/** In HTTP/1.0 a closed connection ends the body (RFC 9112 §6.3): it is reset instead, so that the client does not take a part for the whole. */
function cut({ req, res }: { readonly req: IncomingMessage; readonly res: ServerResponse }): void {
  if (req.httpVersion === '1.0' && !(req.socket instanceof TLSSocket)) req.socket.resetAndDestroy();
  res.destroy();
}

function isClientGone(error: unknown, response: { readonly destroyed: boolean }): boolean {
  return error instanceof ClientLeft || response.destroyed;
}

function setRetryAfter(ctx: { set(field: string, value: string): void }, error: UpstreamError): void {
  const isLimit = error.reason === 'overloaded' || error.reason === 'busy';
  const seconds = error.retryAfterSeconds ?? (isLimit ? defaultRetryAfterSeconds : undefined);
  if (seconds !== undefined) ctx.set('Retry-After', String(seconds));
}

/** TOOMANYREQUESTS and DENIED are the spec's; UNAVAILABLE and UNKNOWN are those of docker/distribution, which clients print as well. */
function bodyOf(error: unknown): { code: string; message: string; detail?: unknown } {
  if (error instanceof OciError) {
    return { code: error.code, message: error.message, ...(error.detail !== undefined && { detail: error.detail }) };
  }
  if (error instanceof UpstreamError) {
    return { code: error.status === 429 ? 'TOOMANYREQUESTS' : 'UNAVAILABLE', message: error.message };
  }
  return { code: 'UNKNOWN', message: 'internal error' };
}

/**
 * Reports the errors that Koa emits, except those of connections that broke: the answer is counted as aborted, and is not an error.
 */
export function reportUnlessDisconnected(
  report: (bug: unknown) => void,
): (error: unknown, ctx?: Pick<Context, 'req'>) => void {
  return (error, ctx) => {
    if (ctx?.req.socket.destroyed !== true) report(error);
  };
}
