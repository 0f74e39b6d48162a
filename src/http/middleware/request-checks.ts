import type { IncomingMessage } from 'node:http';
import type { Observer } from '../../mirror/ports/observer.ts';
import { OciError, UpstreamError } from '../../oci/errors.ts';
import type { RegistryContext, Step } from '../server/exchange.ts';
import type { Connections } from '../server/connections.ts';

/** A look at a request before anything is done for it. @throws OciError or UpstreamError, which is its answer. */
export type RequestCheck = (ctx: RegistryContext) => void;

/** Makes all checks, in order, in one middleware. */
export function checkRequests(checks: readonly RequestCheck[]): Step {
  return (ctx, next) => {
    for (const check of checks) check(ctx);
    return next();
  };
}

/**
 * Refuses requests that another server could read differently: an absolute-form target (VSV00018), or not exactly one host (RFC 9112 §3.2).
 * After a GET with a body the connection is closed, so that the unread body is never taken for a request (CVE-2025-4366). So is one that
 * asks for another protocol: Node loses the bytes that follow the headers.
 */
export function refuseAmbiguousRequest(ctx: RegistryContext): void {
  const { url = '', headers, rawHeaders, httpVersion }: IncomingMessage = ctx.req;
  const closeConnection = () => ctx.set('Connection', 'close');
  if (headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0') closeConnection();
  if (headers.upgrade !== undefined) closeConnection();
  if (!url.startsWith('/')) throw new OciError('NAME_INVALID', 'the request target must be a path');
  const hosts = hostsNamed(rawHeaders);
  if (hosts === 1 || (hosts === 0 && httpVersion === '1.0')) return;
  closeConnection();
  throw new OciError('NAME_INVALID', 'the request must name one host');
}

/** How many `Host` headers there are; Node keeps only the first. Names and values alternate. */
function hostsNamed(rawHeaders: readonly string[]): number {
  let hosts = 0;
  for (let place = 0; place < rawHeaders.length; place += 2) {
    const name = rawHeaders[place] ?? '';
    if (name.length === 4 && name.toLowerCase() === 'host') hosts += 1;
  }
  return hosts;
}

/**
 * Reports the first request that has credentials. Clients are anonymous: `/v2/` sends no challenge, since dockerd would answer it with the
 * user's Docker Hub password. So `docker login` succeeds with any password. The header is neither used nor logged.
 * @param onFirst called once in the life of the process.
 */
export function noticeCredentials(onFirst: () => void): RequestCheck {
  let wasNoticed = false;
  return (ctx) => {
    if (wasNoticed || ctx.req.headers.authorization === undefined) return;
    wasNoticed = true;
    onFirst();
  };
}

export interface OverloadLimits {
  /** The most requests that run at the same time. */
  readonly maxRequests: number;
  /** Tells which connections are above the limit of connections, and resets them. */
  readonly connections: Pick<Connections, 'isSurplus' | 'reset'>;
  /** What a refused request is told. */
  readonly messages?: { readonly connections: string; readonly requests: string };
}

const clientMessages = {
  connections: 'too many connections (clients.maxConnections)',
  requests: 'too many requests (clients.maxRequests)',
};

/** More headers than any client sends. Node drops those beyond its own limit, which is one more. */
export const maxHeaders = 200;
const retryAfterSeconds = 2;

/**
 * Refuses requests above the limits at once instead of queueing them: 503 with Retry-After above the limits of connections and of running
 * requests, 431 for too many headers, which would hide Content-Length (CVE-2026-58044).
 */
export function refuseOverload(
  { maxRequests, connections, messages = clientMessages }: OverloadLimits,
  { observer }: { readonly observer: Pick<Observer, 'rejected'> },
): RequestCheck {
  let running = 0;
  const leave = (): void => {
    running -= 1;
  };
  return (ctx) => {
    if (ctx.req.rawHeaders.length > 2 * maxHeaders) {
      observer.rejected({ reason: 'headers' });
      ctx.set('Connection', 'close');
      throw new OciError('HEADERS_TOO_MANY', 'the request has too many headers');
    }
    if (connections.isSurplus(ctx.req.socket)) {
      observer.rejected({ reason: 'connections' });
      ctx.set('Connection', 'close');
      throw new UpstreamError('busy', messages.connections, { retryAfterSeconds });
    }
    if (running >= maxRequests) {
      observer.rejected({ reason: 'requests' });
      throw new UpstreamError('busy', messages.requests, { retryAfterSeconds });
    }
    running += 1;
    ctx.state.exchange.whenOver(leave);
  };
}
