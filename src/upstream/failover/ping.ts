import type { Waiting } from '../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../oci/errors.ts';
import { type EndpointDeps, sendTo } from './endpoint.ts';
import { retryAfterSecondsOf } from '../api/answer-headers.ts';
import { knock } from './knock.ts';

/** An endpoint that needs longer for a ping is of no use to a pull. */
const pingWithinMs = 5_000;

/**
 * Pings an endpoint: `GET /v2/`, without an account, once. Any answer below 500, also 401, means that the registry is up.
 * @throws UpstreamError when there is no answer in time, or a 5xx.
 */
export function createPing(endpoint: EndpointDeps, closing: Waiting): () => Promise<void> {
  const { url, clock } = endpoint;
  const send = sendTo(endpoint);
  return async () => {
    const late = AbortSignal.timeout(pingWithinMs);
    const signal = AbortSignal.any([late, closing.signal]);
    const { status, headers } = await knock(send, url, { signal }).catch((cause: unknown) => {
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
