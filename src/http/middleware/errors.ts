import type { IncomingMessage, ServerResponse } from 'node:http';
import { TLSSocket } from 'node:tls';
import Koa from 'koa';
import { RememberedNotFound } from '../../mirror/concurrency/remembered.ts';
import { OciError, UpstreamError } from '../../oci/errors.ts';
import { commonHeaders } from '../response/content-response.ts';
import type { HttpContext } from '../server/context.ts';
import { ClientLeft, type ExchangeState, type RegistryContext, type Step } from '../server/exchange.ts';

/** Retry-After for clients, when the upstream sent none. */
const defaultRetryAfterSeconds = 10;

type Report = (bug: unknown, requestId?: string) => void;

/** Answers errors with the spec's error body. An unexpected error is a bug: it is answered 500, and reported with its stack. */
export function answerErrors(report: Report): Step {
  return (ctx, next) => {
    try {
      return ctx.state.exchange.inTime(next)?.catch((error: unknown) => answerError(ctx, error, report));
    } catch (error) {
      return answerError(ctx, error, report);
    }
  };
}

function answerError(ctx: RegistryContext, error: unknown, report: Report): void {
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
): (error: unknown, ctx?: Pick<HttpContext, 'req'>) => void {
  return (error, ctx) => {
    if (ctx?.req.socket.destroyed !== true) report(error);
  };
}

type Answer = (ctx: RegistryContext) => Promise<void> | void;

/**
 * Koa, except that it leaves alone an answer that was sent at once. To learn when the middleware and the response have ended, Koa makes several
 * promises for each request, and listens to the response and its socket for four events: a tenth of what a cached manifest costs.
 */
export class KoaOfSteps extends Koa<ExchangeState> {
  readonly #answer: Answer;

  constructor(steps: readonly Step[]) {
    super();
    this.#answer = inOrder(steps);
  }

  /** Koa calls this for each request. */
  handleRequest(ctx: RegistryContext): Promise<void> | void {
    ctx.res.statusCode = 404;
    const answering = this.#begin(ctx);
    if (!answering && ctx.respond === false) return;
    const { statusCode } = ctx.res;
    return handleByKoa.call(this, ctx, () => {
      ctx.res.statusCode = statusCode; // Koa has reset it.
      return answering ?? Promise.resolve();
    });
  }

  #begin(ctx: RegistryContext): Promise<void> | void {
    try {
      return this.#answer(ctx);
    } catch (cause) {
      return Promise.reject(cause);
    }
  }
}

type HandleRequest = (this: Koa<ExchangeState>, ctx: RegistryContext, answer: () => Promise<void>) => Promise<void>;

/** The types of Koa leave it out. */
const handleByKoa: HandleRequest = (() => {
  const found: unknown = Reflect.get(Koa.prototype, 'handleRequest');
  const isMethod = (value: unknown): value is HandleRequest => typeof value === 'function';
  if (!isMethod(found)) throw new Error('this version of Koa has no handleRequest');
  return found;
})();

function inOrder(steps: readonly Step[]): Answer {
  return steps.reduceRight<Answer>(
    (next, step) => (ctx) => step(ctx, () => next(ctx)),
    () => {},
  );
}
