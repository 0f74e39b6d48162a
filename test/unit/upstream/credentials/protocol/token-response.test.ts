import { describe, expect, test } from 'vitest';
import { parseTokenResponse } from '../../../../../src/upstream/credentials/protocol/token-response.ts';

const nowMs = Date.UTC(2030, 0, 1);
const parse = (body: unknown) =>
  parseTokenResponse(Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)), { host: 'auth.test', nowMs });

test.each([
  { body: { token: 't' }, header: 'Bearer t' },
  { body: { access_token: 'a' }, header: 'Bearer a' },
  { body: { token: 't', access_token: 't' }, header: 'Bearer t' },
  { body: { token: '', access_token: 'a' }, header: 'Bearer a' },
])('$body contains the token of $header', ({ body, header }) => {
  expect(parse(body).header).toBe(header);
});

test.each([
  '',
  'not JSON',
  'null',
  '[]',
  {},
  { token: 5 },
  { token: '' },
  { token: 'with space' },
  { token: 'line\r\nX-Injected: yes' },
])('%j contains no token', (body) => {
  expect(() => parse(body)).toThrowError(expect.objectContaining({ reason: 'misbehaving' }));
});

describe('a token is renewed before it expires: by a tenth of its lifetime, and at least 10 s', () => {
  test.each([
    { what: 'an hour', body: { expires_in: 3_600 }, renewedAfterSeconds: 3_240 },
    { what: 'five minutes', body: { expires_in: 300 }, renewedAfterSeconds: 270 },
    { what: 'five minutes as a string', body: { expires_in: '300' }, renewedAfterSeconds: 270 },
    { what: 'a Unix time', body: { expires_in: nowMs / 1_000 + 300 }, renewedAfterSeconds: 270 },
    { what: 'ten years, which is not believed', body: { expires_in: 315_360_000 }, renewedAfterSeconds: 77_760 },
    { what: 'nothing said', body: {}, renewedAfterSeconds: 50 },
    { what: 'less than a minute, which is not meant', body: { expires_in: 5 }, renewedAfterSeconds: 50 },
    { what: 'no number', body: { expires_in: 'long' }, renewedAfterSeconds: 50 },
    {
      what: 'issued half a minute ago',
      body: { expires_in: 300, issued_at: '2029-12-31T23:59:30.123456789Z' },
      renewedAfterSeconds: 240.123,
    },
    {
      what: 'issued by a clock an hour behind',
      body: { expires_in: 300, issued_at: '2029-12-31T23:00:00Z' },
      renewedAfterSeconds: 270,
    },
    {
      what: 'issued by a clock an hour ahead',
      body: { expires_in: 300, issued_at: '2030-01-01T01:00:00Z' },
      renewedAfterSeconds: 270,
    },
    { what: 'issued at no time', body: { expires_in: 300, issued_at: 'now' }, renewedAfterSeconds: 270 },
  ])('$what', ({ body, renewedAfterSeconds }) => {
    expect(parse({ token: 't', ...body }).renewAtMs - nowMs).toBeCloseTo(renewedAfterSeconds * 1_000, 0);
  });
});

test('a token that is not a valid header value is rejected', () => {
  const sent = (length: number) => Buffer.from(JSON.stringify({ token: 't'.repeat(length) }));
  const options = { host: 'auth.test', nowMs: 0 };
  expect(parseTokenResponse(sent(16 * 1024), options).header).toHaveLength('Bearer '.length + 16 * 1024);
  expect(() => parseTokenResponse(sent(16 * 1024 + 1), options)).toThrow('answered without a token');
});
