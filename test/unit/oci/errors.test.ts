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
  { trouble: 'connect', status: 503 },
  { trouble: 'dns', status: 503 },
  { trouble: 'tls', status: 502 },
  { trouble: 'timeout', status: 504 },
  { trouble: 'overloaded', status: 429 },
  { trouble: 'unavailable', status: 503 },
  { trouble: 'refused', status: 502 },
  { trouble: 'misbehaving', status: 502 },
  { trouble: 'busy', status: 503 },
] as const)('no answer because of $trouble is told as $status', ({ trouble, status }) => {
  expect(new UpstreamError(trouble, 'what', { retryAfterSeconds: 5, upstreamStatus: 500 })).toMatchObject({
    status,
    trouble,
    retryAfterSeconds: 5,
    upstreamStatus: 500,
  });
});
