import type { IncomingHttpHeaders } from 'node:http';
import { headerOf } from './answer-headers.ts';

/** What is left of an allowance. */
export interface RateLimit {
  readonly limit: number;
  readonly remaining: number;
  readonly windowSeconds: number | undefined;
}

/**
 * `ratelimit-limit: 100;w=21600` and `ratelimit-remaining: 20;w=21600`, on Docker Hub's answers about manifests.
 * Source: Docker Hub, "Usage and limits: Pulls".
 * @returns undefined where they are absent (paid accounts), or say something else.
 */
export function rateLimitOf(headers: IncomingHttpHeaders): RateLimit | undefined {
  const limit = amountIn(headerOf(headers, 'ratelimit-limit'));
  const remaining = amountIn(headerOf(headers, 'ratelimit-remaining'));
  if (!limit || !remaining) return undefined;
  return { limit: limit.amount, remaining: remaining.amount, windowSeconds: limit.windowSeconds };
}

function amountIn(text: string | undefined): { amount: number; windowSeconds: number | undefined } | undefined {
  const [, amount, seconds] = /^(\d{1,9})(?:;w=(\d{1,9}))?$/.exec(text?.trim() ?? '') ?? [];
  if (amount === undefined) return undefined;
  return { amount: Number(amount), windowSeconds: seconds === undefined ? undefined : Number(seconds) };
}
