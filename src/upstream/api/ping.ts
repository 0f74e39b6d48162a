import type { Clock } from '../../mirror/ports/clock.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../oci/errors.ts';
import type { Answer } from '../transport/answer.ts';
import type { Send } from '../transport/exchange.ts';
import { retryAfterSecondsOf } from '../transport/rate-limits.ts';
import { discard } from '../transport/read-at-most.ts';

/** The base URL of the distribution API: `v2/` below the path of the registry's URL. */
export function apiRootOf(registry: URL): URL {
  return new URL(`${registry.pathname.replace(/\/$/, '')}/v2/`, registry);
}

/** `GET /v2/`, once, without redirects. @returns the answer, whatever its status. @throws UpstreamError when there is none. */
export async function pingRegistry(
  send: Send,
  apiRoot: URL,
  { signal }: Waiting,
  authorization?: string,
): Promise<Answer> {
  const headers = authorization === undefined ? {} : { authorization };
  const answer = await send({ method: 'GET', url: apiRoot, kind: 'ping', headers }, { signal });
  await discard(answer);
  return answer;
}

/** One address of an upstream. */
interface Address {
  readonly url: URL;
  readonly send: Send;
}

/** Pings one address after the other until one answers, with any status. The observer gets the outcome of each ping. */
export async function pingInTurn(addresses: readonly Address[], options: Waiting): Promise<void> {
  for (const { send, url } of addresses) {
    try {
      await pingRegistry(send, apiRootOf(url), options);
      return;
    } catch {
      // `send` has reported it. The next address is pinged.
    }
  }
}

/** An endpoint that needs longer for a ping is of no use to a pull. */
const pingWithinMs = 5_000;

/**
 * Makes the ping of one endpoint: `GET /v2/`, without an account, once. Any answer below 500, also 401, means that the registry is up.
 * The ping throws UpstreamError when there is no answer in time, or a 5xx.
 */
export function createPing({ send, url, clock }: Address & { readonly clock: Clock }, closing: Waiting) {
  const apiRoot = apiRootOf(url);
  return async (): Promise<void> => {
    const late = AbortSignal.timeout(pingWithinMs);
    const signal = AbortSignal.any([late, closing.signal]);
    const { status, headers } = await pingRegistry(send, apiRoot, { signal }).catch((cause: unknown) => {
      throw late.aborted ? new UpstreamError('timeout', `${url.host} did not answer in time`, { cause }) : cause;
    });
    if (status < 500) return;
    const retryAfterSeconds = retryAfterSecondsOf(headers, clock.now());
    throw new UpstreamError('unavailable', `${url.host} answered ${status}`, {
      upstreamStatus: status,
      retryAfterSeconds,
    });
  };
}
