import type { IncomingHttpHeaders } from 'node:http';

export function headerOf(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** @returns undefined when it is absent, or is no length. */
export function contentLengthOf(headers: IncomingHttpHeaders): number | undefined {
  return wholeNumber(headerOf(headers, 'content-length'));
}

/** `bytes 5-9/20`, `bytes 5-9/*`, and of a 416 `bytes *\/20` (RFC 9110 §14.4). */
export interface ContentRange {
  readonly start: number | undefined;
  readonly end: number | undefined;
  readonly size: number | undefined;
}

export function contentRangeOf(headers: IncomingHttpHeaders): ContentRange | undefined {
  const grammar = /^bytes\s+(?:(\d{1,15})-(\d{1,15})|\*)\/(?:(\d{1,15})|\*)$/i;
  const [whole, start, end, size] = grammar.exec(headerOf(headers, 'content-range')?.trim() ?? '') ?? [];
  if (whole === undefined) return undefined;
  return { start: wholeNumber(start), end: wholeNumber(end), size: wholeNumber(size) };
}

/**
 * When asking again makes sense: seconds, or the time until an HTTP date (RFC 9110 §10.2.3).
 * @returns whole seconds, at most a day; undefined when absent or unreadable.
 */
export function retryAfterSecondsOf(headers: IncomingHttpHeaders, nowMs: number): number | undefined {
  const text = headerOf(headers, 'retry-after')?.trim();
  if (text === undefined || text === '') return undefined;
  const seconds = wholeNumber(text) ?? Math.ceil((Date.parse(text) - nowMs) / 1_000);
  return Number.isNaN(seconds) ? undefined : Math.min(Math.max(seconds, 0), 86_400);
}

function wholeNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
