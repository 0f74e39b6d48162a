import type { Duplex } from 'node:stream';
import type { Middleware } from 'koa';
import type { Observer } from '../../mirror/ports/observer.ts';
import { OciError, UpstreamError } from '../../oci/errors.ts';
import type { ExchangeState } from '../registry/exchange.ts';

export interface OverloadLimits {
  /** The most requests that run at the same time. */
  readonly maxRequests: number;
  /** Whether a connection is above the limit of connections. */
  readonly isSurplus: (socket: Duplex) => boolean;
}

/** More headers than any client sends. Node drops those beyond its own limit, which is one more. */
export const maxHeaders = 200;
const retryAfterSeconds = 2;

/**
 * Refuses requests above the limits at once instead of queueing them: 503 with Retry-After above the limits of connections and of running
 * requests, 431 for too many headers, which would hide Content-Length (CVE-2026-58044).
 */
export function refuseOverload(
  { maxRequests, isSurplus }: OverloadLimits,
  { observer }: { readonly observer: Pick<Observer, 'rejected'> },
): Middleware<ExchangeState> {
  let running = 0;
  const leave = (): void => {
    running -= 1;
  };
  return (ctx, next) => {
    if (ctx.req.rawHeaders.length > 2 * maxHeaders) {
      observer.rejected({ reason: 'headers' });
      ctx.set('Connection', 'close');
      throw new OciError('HEADERS_TOO_MANY', 'the request has too many headers');
    }
    if (isSurplus(ctx.req.socket)) {
      observer.rejected({ reason: 'connections' });
      ctx.set('Connection', 'close');
      throw new UpstreamError('busy', 'the mirror has as many connections as it can', { retryAfterSeconds });
    }
    if (running >= maxRequests) {
      observer.rejected({ reason: 'requests' });
      throw new UpstreamError('busy', 'the mirror answers as many requests as it can', { retryAfterSeconds });
    }
    running += 1;
    ctx.state.exchange.whenOver(leave);
    return next();
  };
}
