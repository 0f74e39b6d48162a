import { UpstreamError } from '../../../oci/errors.ts';
import { secondsFrom } from '../../transport/rate-limits.ts';
import { parseJsonObject } from '../../../oci/json.ts';

/** A token, and when to renew it. */
export interface Token {
  readonly header: string;
  /** By the wall clock after parsing; by the monotonic clock in the cache. */
  readonly renewAtMs: number;
}

/** distribution spec, "Token Authentication": a missing `expires_in` means 60 s, and clients assume no less. */
const shortestLifeSeconds = 60;
/** The longest life: tokens that are valid for longer are renewed once a day. */
const longestLifeSeconds = 86_400;
const toleratedSkewMs = 60_000;
/** Servers accept no longer header, and thousands of tokens are cached. */
const maxTokenLength = 16 * 1024;

/**
 * Parses the answer of a token endpoint.
 * `issued_at` counts only if the clocks agree to a minute; a token is renewed a tenth of its life, at least 10 s, early.
 * @throws UpstreamError misbehaving when it holds no token.
 */
export function parseTokenResponse(bytes: Uint8Array, { host, nowMs }: { host: string; nowMs: number }): Token {
  const body = parseJsonObject(bytes);
  const token = [body?.['token'], body?.['access_token']].find((one) => typeof one === 'string' && one !== '');
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token) || token.length > maxTokenLength) {
    throw new UpstreamError('misbehaving', `${host} answered without a token`);
  }
  const { expires_in: expiresIn, issued_at: issuedAt } = body ?? {};
  const reportedSeconds = secondsFrom(numberIn(expiresIn), nowMs);
  const lifeMs = 1_000 * Math.min(longestLifeSeconds, Math.max(shortestLifeSeconds, reportedSeconds));
  const startMs = startOf(issuedAt, nowMs);
  return { header: `Bearer ${token}`, renewAtMs: startMs + lifeMs - Math.max(10_000, lifeMs / 10) };
}

/** A number; some servers send it as a string (Microsoft's identity platform, v1). 0 for anything else. */
function numberIn(value: unknown): number {
  const isNumeric = typeof value === 'number' || (typeof value === 'string' && /^\d{1,15}$/.test(value));
  return isNumeric && Number.isFinite(Number(value)) ? Number(value) : 0;
}

function startOf(issuedAt: unknown, nowMs: number): number {
  const issuedAtMs = typeof issuedAt === 'string' ? Date.parse(issuedAt) : Number.NaN;
  return Math.abs(issuedAtMs - nowMs) <= toleratedSkewMs ? issuedAtMs : nowMs;
}
