import type { Clock } from '../../mirror/ports/clock.ts';
import { OciError, type OciErrorCode, UpstreamError } from '../../oci/errors.ts';
import { retryAfterSecondsOf } from './rate-limits.ts';
import type { Answer } from './answer.ts';
import { maxSmallBodyBytes, readAtMost } from './read-at-most.ts';
import { isJsonObject, parseJsonObject } from '../../oci/json.ts';

export interface Refusal {
  /** What a 404 means, unless the body says that the repository is unknown. */
  readonly missing: 'MANIFEST_UNKNOWN' | 'BLOB_UNKNOWN' | 'NAME_UNKNOWN';
  /** Whether the request had an account of the mirror. */
  readonly isAuthenticated: boolean;
  /** Whether a listing was requested: an account that may pull may not be allowed to list. */
  readonly isListing?: boolean;
  /** Whether the answer came after a redirect. */
  readonly isElsewhere?: boolean;
  readonly clock: Clock;
}

/**
 * The meaning of an unsuccessful answer. The upstream's text is not passed on: Docker Hub's 429 names the account.
 *
 *     404        MANIFEST_UNKNOWN, BLOB_UNKNOWN or NAME_UNKNOWN
 *     401, 403   DENIED to an anonymous request, `refused` to one with the mirror's account; also `refused` after a redirect
 *                to a blob's storage, because that is not about the repository (an expired signature). 403 to a listing is DENIED to
 *                an account too: it may be allowed to pull but not to list (ECR without `ecr:ListImages`)
 *     429        `overloaded`, with Retry-After
 *     5xx        `unavailable`
 *     any other  `misbehaving`
 */
export async function errorOfAnswer(answer: Answer, refusal: Refusal): Promise<OciError | UpstreamError> {
  const { status, url, headers } = answer;
  const codes = errorCodesIn(await readAtMost(answer, maxSmallBodyBytes).catch(() => Buffer.alloc(0)));
  const more = { upstreamStatus: status, retryAfterSeconds: retryAfterSecondsOf(headers, refusal.clock.now()) };
  if (status === 404) return missing(url.host, codes.includes('NAME_UNKNOWN') ? 'NAME_UNKNOWN' : refusal.missing);
  if (status === 429) return new UpstreamError('overloaded', `${url.host} is rate limiting (429)`, more);
  if (status >= 500) return new UpstreamError('unavailable', `${url.host} answered ${status}`, more);
  if (status !== 401 && status !== 403) return new UpstreamError('misbehaving', `${url.host} answered ${status}`, more);
  if (refusal.isElsewhere && refusal.missing === 'BLOB_UNKNOWN') {
    return new UpstreamError('refused', `${url.host} refused the redirected blob request (${status})`, more);
  }
  if (!refusal.isAuthenticated) return new OciError('DENIED', `${url.host} denies anonymous access`, more);
  if (status === 403 && refusal.isListing)
    return new OciError('DENIED', `${url.host} denies this request to the mirror's account`, more);
  return new UpstreamError('refused', `${url.host} refused the mirror's account (${status})`, more);
}

const whatIsMissing = {
  BLOB_UNKNOWN: 'blob',
  MANIFEST_UNKNOWN: 'manifest',
  NAME_UNKNOWN: 'repository',
} as const satisfies Partial<Record<OciErrorCode, string>>;

function missing(host: string, code: keyof typeof whatIsMissing): OciError {
  return new OciError(code, `${host} has no such ${whatIsMissing[code]}`);
}

/** The codes of an OCI error body; none for any other body. */
function errorCodesIn(bytes: Uint8Array): readonly string[] {
  const errors = parseJsonObject(bytes)?.['errors'];
  if (!Array.isArray(errors)) return [];
  return errors.map((error: unknown) => codeIn(error));
}

function codeIn(error: unknown): string {
  const code = isJsonObject(error) ? error['code'] : undefined;
  return typeof code === 'string' ? code : '';
}
