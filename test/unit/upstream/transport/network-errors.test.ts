import { inspect } from 'node:util';
import { errors } from 'undici';
import { describe, expect, test } from 'vitest';
import { UpstreamError } from '../../../../src/oci/errors.ts';
import { networkFailure, transferFailure } from '../../../../src/upstream/transport/network-errors.ts';

const failed = (code: string) => Object.assign(new Error(`something with ${code}`), { code });

describe('network errors', () => {
  test.each([
    { code: 'ECONNREFUSED', reason: 'connect', says: 'ghcr.io could not be reached (ECONNREFUSED)' },
    { code: 'ECONNRESET', reason: 'connect', says: 'ghcr.io could not be reached (ECONNRESET)' },
    { code: 'EHOSTUNREACH', reason: 'connect', says: 'ghcr.io could not be reached (EHOSTUNREACH)' },
    { code: 'UND_ERR_SOCKET', reason: 'connect', says: 'ghcr.io could not be reached (UND_ERR_SOCKET)' },
    {
      code: 'EMFILE',
      reason: 'busy',
      says: 'ghcr.io could not be asked: this machine opens no more sockets (EMFILE)',
    },
    {
      code: 'ENFILE',
      reason: 'busy',
      says: 'ghcr.io could not be asked: this machine opens no more sockets (ENFILE)',
    },
    { code: 'ENOTFOUND', reason: 'dns', says: 'ghcr.io could not be resolved (ENOTFOUND)' },
    { code: 'EAI_AGAIN', reason: 'dns', says: 'ghcr.io could not be resolved (EAI_AGAIN)' },
    {
      code: 'UND_ERR_CONNECT_TIMEOUT',
      reason: 'timeout',
      says: 'ghcr.io did not answer in time (UND_ERR_CONNECT_TIMEOUT)',
    },
    {
      code: 'UND_ERR_HEADERS_TIMEOUT',
      reason: 'timeout',
      says: 'ghcr.io did not answer in time (UND_ERR_HEADERS_TIMEOUT)',
    },
    { code: 'ETIMEDOUT', reason: 'timeout', says: 'ghcr.io did not answer in time (ETIMEDOUT)' },
    { code: 'CERT_HAS_EXPIRED', reason: 'tls', says: 'ghcr.io could not be trusted (CERT_HAS_EXPIRED)' },
    {
      code: 'DEPTH_ZERO_SELF_SIGNED_CERT',
      reason: 'tls',
      says: 'ghcr.io could not be trusted (DEPTH_ZERO_SELF_SIGNED_CERT)',
    },
    {
      code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      reason: 'tls',
      says: 'ghcr.io could not be trusted (UNABLE_TO_VERIFY_LEAF_SIGNATURE)',
    },
    {
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
      reason: 'tls',
      says: 'ghcr.io could not be trusted (ERR_TLS_CERT_ALTNAME_INVALID)',
    },
    {
      code: 'ERR_SSL_WRONG_VERSION_NUMBER',
      reason: 'tls',
      says: 'ghcr.io could not be trusted (ERR_SSL_WRONG_VERSION_NUMBER)',
    },
    { code: 'EPROTO', reason: 'tls', says: 'ghcr.io could not be trusted (EPROTO)' },
    {
      code: 'UND_ERR_HEADERS_OVERFLOW',
      reason: 'misbehaving',
      says: 'ghcr.io broke the protocol (UND_ERR_HEADERS_OVERFLOW)',
    },
    { code: 'ESOMETHINGNEW', reason: 'connect', says: 'ghcr.io could not be reached (ESOMETHINGNEW)' },
  ])('$code has the reason $reason', ({ code, reason, says }) => {
    const failure = networkFailure('ghcr.io', failed(code));

    expect(failure).toMatchObject({ reason, message: says });
  });

  test('the cause is kept', () => {
    const cause = failed('ECONNREFUSED');

    expect(networkFailure('ghcr.io', cause).cause).toBe(cause);
  });

  test.each([undefined, 'text', null, { code: 5 }])(
    'a cause that is not an error (%j) is wrapped all the same',
    (cause) => {
      expect(networkFailure('ghcr.io', cause)).toMatchObject({
        reason: 'connect',
        message: 'ghcr.io could not be reached (no code)',
      });
    },
  );

  test('an UpstreamError is passed on unchanged', () => {
    const known = new UpstreamError('busy', 'full');

    expect(networkFailure('ghcr.io', known)).toBe(known);
    expect(transferFailure('ghcr.io', known)).toBe(known);
  });

  test('the bytes that the parser failed on are not kept in the error', () => {
    const cause = Object.assign(new errors.HTTPParserError('no HTTP (Invalid chunk)'), { data: '{"token":"s3cr3t"}' });

    expect(inspect(networkFailure('ghcr.io', cause), { depth: 9 })).not.toContain('s3cr3t');
    expect(inspect(transferFailure('ghcr.io', cause), { depth: 9 })).not.toContain('s3cr3t');
  });
});

test('a connection that closes within a body is not reported as one that could not be made', () => {
  const failure = transferFailure('ghcr.io', failed('UND_ERR_SOCKET'));

  expect(failure).toMatchObject({
    reason: 'connect',
    message: 'ghcr.io closed the connection within the body (UND_ERR_SOCKET)',
  });
});

test('a chunked body that ends in the middle is not reported as one that could not be made', () => {
  const cause = new errors.HTTPParserError('Response does not match the HTTP/1.1 protocol (Invalid EOF state)');

  expect(transferFailure('ghcr.io', cause)).toMatchObject({
    reason: 'connect',
    message: 'ghcr.io closed the connection within the body (Invalid EOF state)',
  });
});
