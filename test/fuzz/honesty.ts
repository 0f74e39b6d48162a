import type { WireAnswer } from './wire.ts';

const honestStatuses: ReadonlySet<number> = new Set([
  200, 206, 304, 400, 403, 404, 405, 408, 413, 416, 417, 429, 431, 502, 503, 504,
]);

/**
 * What is wrong with an answer, or `honest`: never a bug of ours, never a challenge, and a failure says what it is in the words of the
 * spec. Pure.
 */
export function honestyOf({ status, headers, body }: WireAnswer, method: string): string {
  if (!honestStatuses.has(status)) return `status ${status}`;
  if (headers.has('www-authenticate')) return 'a challenge';
  if (status < 400 || method === 'HEAD') return 'honest';
  if (headers.get('content-type')?.startsWith('application/json') !== true) return 'not JSON';
  return /^\{"errors":\[\{"code":"[A-Z_]+","message":"[^"]/.test(body.toString())
    ? 'honest'
    : `an error body ${body.toString()}`;
}
