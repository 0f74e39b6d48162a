import { expect, test } from 'vitest';
import { OciError, UpstreamError } from '../../../src/oci/errors.ts';

test.each([
  { code: 'BLOB_UNKNOWN', status: 404 },
  { code: 'MANIFEST_UNKNOWN', status: 404 },
  { code: 'NAME_UNKNOWN', status: 404 },
  { code: 'NAME_INVALID', status: 400 },
  { code: 'DIGEST_INVALID', status: 400 },
  { code: 'TAG_INVALID', status: 400 },
  { code: 'PAGINATION_NUMBER_INVALID', status: 400 },
  { code: 'DENIED', status: 403 },
  { code: 'UNAUTHORIZED', status: 401 },
  { code: 'UNSUPPORTED', status: 405 },
  { code: 'RANGE_INVALID', status: 416 },
  { code: 'TOOMANYREQUESTS', status: 429 },
  { code: 'HEADERS_TOO_MANY', status: 431 },
] as const)('$code has status $status', ({ code, status }) => {
  const cause = new Error('why');
  const error = new OciError(code, 'what', { cause, detail: { more: 1 } });
  expect(error).toMatchObject({ status, code, cause, message: 'what', detail: { more: 1 } });
});

test.each([
  { reason: 'connect', status: 503 },
  { reason: 'dns', status: 503 },
  { reason: 'tls', status: 502 },
  { reason: 'timeout', status: 504 },
  { reason: 'overloaded', status: 429 },
  { reason: 'unavailable', status: 503 },
  { reason: 'refused', status: 502 },
  { reason: 'misbehaving', status: 502 },
  { reason: 'busy', status: 503 },
] as const)('an UpstreamError with the reason $reason has status $status', ({ reason, status }) => {
  expect(new UpstreamError(reason, 'what', { retryAfterSeconds: 5, upstreamStatus: 500 })).toMatchObject({
    status,
    reason,
    retryAfterSeconds: 5,
    upstreamStatus: 500,
  });
});
