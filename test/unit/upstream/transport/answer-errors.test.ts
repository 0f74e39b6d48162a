import { describe, expect, test } from 'vitest';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { countConnections } from '../count-connections.ts';
import { serve } from '../serve.ts';
import { clientOf, unlimited } from '../start-client.ts';

const repository = parseRepository('team/app');
const latest = parseTag('latest');
const account = {
  kind: 'basic',
  repositories: ['**'],
  username: 'hub-user',
  readPassword: async () => 's3cr3t',
} as const;

async function failureFor(status: number, { body = '', headers = {}, credentials = [] as (typeof account)[] } = {}) {
  const registry = await serve((_, response) => void response.writeHead(status, headers).end(body));
  const { client } = clientOf(registry.url, { credentials });
  return client.getManifest(repository, latest, unlimited).catch((error: unknown) => error);
}

test.each([
  { status: 400, expected: { name: 'UpstreamError', reason: 'misbehaving', upstreamStatus: 400 } },
  { status: 401, expected: { name: 'OciError', code: 'DENIED' } },
  { status: 403, expected: { name: 'OciError', code: 'DENIED' } },
  { status: 404, expected: { name: 'OciError', code: 'MANIFEST_UNKNOWN' } },
  { status: 410, expected: { name: 'UpstreamError', reason: 'misbehaving' } },
  { status: 429, expected: { name: 'UpstreamError', reason: 'overloaded', upstreamStatus: 429 } },
  { status: 500, expected: { name: 'UpstreamError', reason: 'unavailable' } },
  { status: 503, expected: { name: 'UpstreamError', reason: 'unavailable', upstreamStatus: 503 } },
  { status: 204, expected: { name: 'UpstreamError', reason: 'misbehaving' } },
  { status: 304, expected: { name: 'UpstreamError', reason: 'misbehaving' } },
])('an upstream that answers $status to an anonymous caller: $expected', async ({ status, expected }) => {
  expect(await failureFor(status)).toMatchObject(expected);
});

test.each([401, 403])("an upstream that answers %i to the mirror's own account refuses it", async (status) => {
  expect(await failureFor(status, { credentials: [account] })).toMatchObject({
    name: 'UpstreamError',
    reason: 'refused',
  });
});

test('a 404 that says the repository is unknown is passed on as NAME_UNKNOWN', async () => {
  const body = '{"errors":[{"code":"NAME_UNKNOWN","message":"x"}]}';

  expect(await failureFor(404, { body })).toMatchObject({ code: 'NAME_UNKNOWN' });
});

test.each(['<html>', '', '[]', 'null', '{"errors":"x"}', '{"errors":[null,5]}', '['.repeat(50_000)])(
  'an invalid error body (%.20s) does not change the result',
  async (body) => {
    expect(await failureFor(404, { body })).toMatchObject({ code: 'MANIFEST_UNKNOWN' });
    expect(await failureFor(503, { body })).toMatchObject({ reason: 'unavailable' });
  },
);

test('an endless error body is cut off', async () => {
  const registry = await serve((_, response) => {
    response.writeHead(503);
    const pour = () => {
      while (response.writable && response.write(Buffer.alloc(64 * 1024)));
      if (response.writable) response.once('drain', pour);
    };
    pour();
  });
  const { client, observer } = clientOf(registry.url);

  await expect(client.getManifest(repository, latest, unlimited)).rejects.toMatchObject({ reason: 'unavailable' });

  expect(observer.bytesOf('manifest')).toBeLessThan(4 * 1024 * 1024);
});

describe('Retry-After', () => {
  test.each([
    { status: 429, header: '30', expected: 30 },
    { status: 503, header: 'Tue, 01 Jan 2030 00:01:00 GMT', expected: 60 },
    { status: 429, header: 'whenever', expected: undefined },
  ])('a $status with Retry-After: $header means $expected seconds', async ({ status, header, expected }) => {
    expect(await failureFor(status, { headers: { 'retry-after': header } })).toMatchObject({
      retryAfterSeconds: expected,
    });
  });
});

test('the text of an upstream error, which may name the account, is not repeated', async () => {
  const body = JSON.stringify({ errors: [{ code: 'TOOMANYREQUESTS', message: "pull rate limit as 'hub-user'" }] });

  const failure = await failureFor(429, { body, credentials: [account] });

  expect(JSON.stringify(failure, Object.getOwnPropertyNames(failure))).not.toContain('hub-user');
});

describe('an upstream is unreachable', () => {
  test('when its port refuses connections', async () => {
    const { client, observer } = clientOf('http://127.0.0.1:9');

    await expect(client.getManifest(repository, latest, unlimited)).rejects.toMatchObject({
      reason: 'connect',
      message: '127.0.0.1:9 could not be reached (ECONNREFUSED)',
      cause: expect.objectContaining({ code: 'ECONNREFUSED' }),
    });
    expect(new Set(observer.story)).toEqual(new Set(['GET manifest connect']));
  });

  test('when it closes every connection at once', async () => {
    const { port } = await countConnections();

    const asked = clientOf(`http://127.0.0.1:${port}`).client.getManifest(repository, latest, unlimited);

    await expect(asked).rejects.toMatchObject({ reason: 'connect' });
  });
});
