import { setTimeout as sleep } from 'node:timers/promises';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { type FailureReason, UpstreamError } from '../../oci/errors.ts';
import { isLostConnection } from '../transport/network-errors.ts';

/** The registry itself, or a mirror: after a mirror there is another endpoint to ask. */
export type EndpointRole = 'registry' | 'mirror';

/** The pauses before retries. They are random, so that many mirrors do not retry at the same time. */
export interface Pauses {
  /** From 0 to below 1. */
  readonly random: () => number;
  /** Rejects when the signal aborts. */
  readonly wait: (ms: number, options: Waiting) => Promise<void>;
}

export const realPauses: Pauses = {
  random: () => Math.random(),
  wait: (ms, { signal }) => sleep(ms, undefined, { signal }),
};

/** The pauses add up to less than half a second, unless `Retry-After` asks for more: this bounds the delay of a cached tag while its upstream is down. */
const maxRetries: Readonly<Record<EndpointRole, number>> = { registry: 2, mirror: 1 };
const firstPauseMs = 100;
const longestRetryAfterMs = 1_000;

/** Statuses that a retry does not change (RFC 9110 §15.6.2, §15.6.6). */
const lasting: ReadonlySet<number> = new Set([501, 505]);

/** Retries after a first failure. @returns the value of a later attempt. @throws the last failure. */
export type Retry = <Value>(failure: unknown, waiting: Waiting, ask: () => Promise<Value>) => Promise<Value>;

/**
 * Retries a request after a transient error, while its caller waits. Every request to an endpoint is safe to repeat: content, lists, and
 * tokens, also those for which a refresh token is posted, as the same one is posted for every next token. A body that breaks off is not
 * retried here: the rest of it is requested elsewhere.
 * @param onRetry called before each retry, with the reason of the failure.
 */
export function createRetry(
  role: EndpointRole,
  { random, wait }: Pauses,
  onRetry: (reason: FailureReason) => void = () => {},
): Retry {
  return async (failure, { signal }, ask) => {
    let cause = failure;
    for (let retries = 0; ; retries += 1) {
      const pauseMs = pauseBeforeRetry(cause, { role, retries, random: random() });
      if (signal.aborted || pauseMs === undefined) throw cause;
      await wait(pauseMs, { signal }).catch(() => signal.throwIfAborted());
      if (cause instanceof UpstreamError) onRetry(cause.reason);
      try {
        return await ask();
      } catch (next) {
        cause = next;
      }
    }
  };
}

/**
 * How long to wait before a retry, in milliseconds; undefined: no retry. Pure.
 *
 *     registry   twice if it is unreachable, the connection was lost (a kept one may be closed just as it is used: RFC 9112 §9.3.1), or it
 *                answered 5xx, unless Retry-After is above a second
 *     mirror     once if the connection was lost; in all other cases the next endpoint is tried at once
 *
 * Never after an answer, a refusal, a 429 or a timeout.
 */
export function pauseBeforeRetry(
  cause: unknown,
  { role, retries, random }: { readonly role: EndpointRole; readonly retries: number; readonly random: number },
): number | undefined {
  if (retries >= maxRetries[role] || !isTransient(cause, role)) return undefined;
  const retryAfterMs = (cause.retryAfterSeconds ?? 0) * 1_000;
  if (retryAfterMs > longestRetryAfterMs) return undefined;
  return Math.max(retryAfterMs, firstPauseMs * 2 ** retries * (0.5 + random));
}

function isTransient(cause: unknown, role: EndpointRole): cause is UpstreamError {
  if (!(cause instanceof UpstreamError)) return false;
  if (role === 'mirror') return isLostConnection(cause);
  const { reason, upstreamStatus } = cause;
  return (
    reason === 'connect' || (reason === 'unavailable' && upstreamStatus !== undefined && !lasting.has(upstreamStatus))
  );
}
