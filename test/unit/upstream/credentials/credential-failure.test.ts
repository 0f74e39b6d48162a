import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { UpstreamError } from '../../../../src/oci/errors.ts';
import { credentialFailure, unreadableSecret } from '../../../../src/upstream/credentials/credential-failure.ts';

/** As AWS's SDK throws them: their names and messages come from the answer. */
const fromAws = (name: string, more: object) => Object.assign(new Error(`canary said ${name}`), { name, ...more });

test.each([
  {
    cause: fromAws('AccessDeniedException', { $metadata: { httpStatusCode: 400 } }),
    reason: 'refused',
    told: 'AccessDeniedException: 400',
  },
  {
    cause: fromAws('Throttling', { $metadata: { httpStatusCode: 429 } }),
    reason: 'unavailable',
    told: 'Throttling: 429',
  },
  { cause: fromAws('canary-1 2', { $metadata: { httpStatusCode: 503 } }), reason: 'unavailable', told: 'Error: 503' },
  { cause: fromAws('TimeoutError', { code: 'ECONNRESET' }), reason: 'timeout', told: 'TimeoutError: ECONNRESET' },
  { cause: Object.assign(new Error('canary'), { code: 'canary code' }), reason: 'refused', told: 'Error: no code' },
  {
    cause: Object.assign(new Error('canary'), { response: { status: 401, data: 'canary' } }),
    reason: 'refused',
    told: 'Error: 401',
  },
  {
    cause: new SyntaxError('Unexpected token, "canary" is not valid JSON'),
    reason: 'refused',
    told: 'SyntaxError: no code',
  },
  { cause: 'canary', reason: 'refused', told: 'Error: no code' },
])('an error of a cloud library is reported by its name and code only: $told', ({ cause, reason, told }) => {
  const failure = credentialFailure('AWS', cause);

  expect(failure).toMatchObject({ message: 'no credentials from AWS', reason });
  expect(String(failure.cause)).toBe(told);
  expect(inspect(failure, { depth: 9 })).not.toContain('canary');
});

test('a problem with a file is reported in full', () => {
  const failure = unreadableSecret('the file', new Error('/run/secrets/password is empty'));

  expect(failure).toMatchObject({ reason: 'refused', cause: { message: '/run/secrets/password is empty' } });
});

test('an UpstreamError is passed on unchanged', () => {
  const reason = new UpstreamError('timeout', 'the helper took too long');

  expect(credentialFailure('AWS', reason)).toBe(reason);
  expect(unreadableSecret('the file', reason)).toBe(reason);
});
