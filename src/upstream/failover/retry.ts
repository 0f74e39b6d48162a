import { setTimeout as sleep } from 'node:timers/promises';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../oci/errors.ts';
import type { EndpointRole, Guard } from './endpoint.ts';
import { isLostConnection } from '../transport/network-errors.ts';

/** How long to wait before asking again is left to chance, so that many mirrors do not come back together. */
export interface Pauses {
  /** From 0 up to 1. */
  readonly random: () => number;
  /** Rejects when the signal aborts. */
  readonly wait: (ms: number, options: Waiting) => Promise<void>;
}

export const realPauses: Pauses = {
  random: () => Math.random(),
  wait: (ms, { signal }) => sleep(ms, undefined, { signal }),
};

/** The pauses add up to less than half a second where `Retry-After` wishes for no more: for so long a cached tag waits for a dead upstream, once. */
const maxRetries: Readonly<Record<EndpointRole, number>> = { registry: 2, mirror: 1 };
const firstPauseMs = 100;
const longestWishMs = 1_000;

/** What a server cannot do it cannot do a moment later either (RFC 9110 §15.6.2, §15.6.6). */
const lasting: ReadonlySet<number> = new Set([501, 505]);

/**
 * Retries a request after a transient error, while its caller waits. Everything an endpoint is asked is safe to ask twice: content,
 * lists, and tokens, also those for which a refresh token is posted, as the same one is posted for every next token. It is for
 * questions that are answered as a whole, or with headers: of a body that breaks off later the rest is asked for elsewhere.
 */
export function createRetry(role: EndpointRole, { random, wait }: Pauses): Guard {
  return async (options, ask) => {
    for (let retries = 0; ; retries += 1) {
      try {
        return await ask();
      } catch (cause) {
        const pauseMs = pauseBeforeRetry(cause, { role, retries, random: random() });
        if (options.signal.aborted || pauseMs === undefined) throw cause;
        await wait(pauseMs, options).catch(() => options.signal.throwIfAborted());
      }
    }
  };
}

/**
 * How long to wait before asking again, in milliseconds; undefined: not again. Pure.
 *
 *     registry   twice when nobody was there, the connection was lost (a kept one may be closed just as it is used: RFC 9112 §9.3.1), or
 *                it answered 5xx, unless it wants to be left alone for more than a second
 *     mirror     once, when the connection was lost: in all other cases the next endpoint is asked at once
 *
 * Never after an answer, a refusal, a 429 or a timeout.
 */
export function pauseBeforeRetry(
  cause: unknown,
  { role, retries, random }: { readonly role: EndpointRole; readonly retries: number; readonly random: number },
): number | undefined {
  if (retries >= maxRetries[role] || !isTransient(cause, role)) return undefined;
  const wishedMs = (cause.retryAfterSeconds ?? 0) * 1_000;
  if (wishedMs > longestWishMs) return undefined;
  return Math.max(wishedMs, firstPauseMs * 2 ** retries * (0.5 + random));
}

function isTransient(cause: unknown, role: EndpointRole): cause is UpstreamError {
  if (!(cause instanceof UpstreamError)) return false;
  if (role === 'mirror') return isLostConnection(cause);
  const { reason, upstreamStatus } = cause;
  return (
    reason === 'connect' || (reason === 'unavailable' && upstreamStatus !== undefined && !lasting.has(upstreamStatus))
  );
}
