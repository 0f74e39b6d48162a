import type { IncomingHttpHeaders } from 'node:http';
import { headerOf } from './answer.ts';

/** A number; some gateways send a fraction. */
const numberGrammar = /^\d{1,15}(?:\.\d{1,9})?$/;
/** `Date.parse` accepts nearly anything: `-5` is a day in May 2001. */
const dateGrammar = /^(?:[A-Za-z]{3,9},? |\d{4}-\d\d-\d\dT)/;

/**
 * Retry-After: seconds, or an HTTP date (RFC 9110 §10.2.3). Some send a Unix time in seconds or milliseconds (like GitHub's
 * `x-ratelimit-reset`): no wait is that long.
 * @returns whole seconds, at most a day; undefined when absent or unreadable.
 */
export function retryAfterSecondsOf(headers: IncomingHttpHeaders, nowMs: number): number | undefined {
  const text = headerOf(headers, 'retry-after')?.trim() ?? '';
  const isNumber = numberGrammar.test(text);
  if (!isNumber && !dateGrammar.test(text)) return undefined;
  const seconds = isNumber ? secondsFrom(Math.ceil(Number(text)), nowMs) : secondsUntil(Date.parse(text), nowMs);
  return Number.isNaN(seconds) ? undefined : Math.min(Math.max(seconds, 0), 86_400);
}

/** No registry limits by more than a month. */
const longestWindowSeconds = 31 * 86_400;

/** From here on a number is a Unix time, in seconds (2001) or milliseconds (1970), and not a duration. */
const leastUnixSeconds = 1_000_000_000;
const leastUnixMs = 1_000 * leastUnixSeconds;

/** The duration that a number means: seconds, or the time until a Unix time. */
export function secondsFrom(number: number, nowMs: number): number {
  if (number < leastUnixSeconds) return number;
  return secondsUntil(number < leastUnixMs ? number * 1_000 : number, nowMs);
}

function secondsUntil(whenMs: number, nowMs: number): number {
  return Math.ceil((whenMs - nowMs) / 1_000);
}

/** A rate limit as the upstream reports it. */
export interface RateLimit {
  readonly limit: number;
  readonly remaining: number;
  readonly windowSeconds: number | undefined;
  /** Until all pulls are allowed again, where the upstream says so. */
  readonly resetSeconds: number | undefined;
}

/**
 * `ratelimit-limit: 100;w=21600` and `ratelimit-remaining: 20;w=21600`, on Docker Hub's answers about manifests.
 * `ratelimit-reset` has the seconds until the window ends, or its end as a Unix time (GitLab); Docker Hub's window slides and has no end.
 * Sources: Docker Hub, "Usage and limits: Pulls"; the Internet-Draft "RateLimit header fields for HTTP"; GitLab, "Rate limits".
 * @returns undefined when they are absent (paid accounts) or invalid.
 */
export function rateLimitOf(headers: IncomingHttpHeaders, nowMs: number): RateLimit | undefined {
  const limit = amountIn(headerOf(headers, 'ratelimit-limit'));
  const remaining = amountIn(headerOf(headers, 'ratelimit-remaining'));
  if (!limit || !remaining) return undefined;
  const resetSeconds = resetSecondsOf(headers, nowMs);
  return { limit: limit.amount, remaining: remaining.amount, windowSeconds: limit.windowSeconds, resetSeconds };
}

function resetSecondsOf(headers: IncomingHttpHeaders, nowMs: number): number | undefined {
  const text = headerOf(headers, 'ratelimit-reset')?.trim() ?? '';
  if (!numberGrammar.test(text)) return undefined;
  const seconds = secondsFrom(Math.ceil(Number(text)), nowMs);
  return seconds < 0 || seconds > longestWindowSeconds ? undefined : seconds;
}

function amountIn(text: string | undefined): { amount: number; windowSeconds: number | undefined } | undefined {
  const [, amount, seconds] = /^(\d{1,9})(?:;w=(\d{1,9}))?$/.exec(text?.trim() ?? '') ?? [];
  if (amount === undefined) return undefined;
  return { amount: Number(amount), windowSeconds: seconds === undefined ? undefined : Number(seconds) };
}
