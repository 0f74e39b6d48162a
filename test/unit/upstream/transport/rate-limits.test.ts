import type { ServerResponse } from 'node:http';
import { describe, expect, test } from 'vitest';
import { parseDigest } from '../../../../src/oci/digest.ts';
import { ociManifest } from '../../../../src/oci/media-types.ts';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { rateLimitOf, retryAfterSecondsOf } from '../../../../src/upstream/transport/rate-limits.ts';
import type { CredentialSettings } from '../../../../src/upstream/settings.ts';
import { type Seen, sendJson, serve } from '../serve.ts';
import { clientOf, unlimited } from '../start-client.ts';

test.each([
  { limit: '100;w=21600', remaining: '20;w=21600', expected: { limit: 100, remaining: 20, windowSeconds: 21_600 } },
  { limit: '100', remaining: '0', expected: { limit: 100, remaining: 0, windowSeconds: undefined } },
  { limit: '100;w=21600', remaining: undefined, expected: undefined },
  { limit: undefined, remaining: undefined, expected: undefined },
  { limit: 'many', remaining: '20', expected: undefined },
  { limit: '100;w=x', remaining: '20', expected: undefined },
])('ratelimit-limit: $limit with ratelimit-remaining: $remaining is $expected', ({ limit, remaining, expected }) => {
  expect(rateLimitOf({ 'ratelimit-limit': limit, 'ratelimit-remaining': remaining }, 0)).toEqual(expected);
});

test.each([
  { reset: '1200', expected: 1_200 },
  { reset: '0', expected: 0 },
  { reset: String(Date.UTC(2030, 0, 1, 1) / 1_000), expected: 3_600 },
  { reset: String(Date.UTC(2029, 0) / 1_000), expected: undefined },
  { reset: '999999999', expected: undefined },
  { reset: '-5', expected: undefined },
  { reset: 'soon', expected: undefined },
  { reset: undefined, expected: undefined },
])('ratelimit-reset: $reset is $expected seconds away', ({ reset, expected }) => {
  const headers = { 'ratelimit-limit': '100', 'ratelimit-remaining': '20', 'ratelimit-reset': reset };
  expect(rateLimitOf(headers, Date.UTC(2030, 0))?.resetSeconds).toBe(expected);
});

describe('several accounts', () => {
  const repository = parseRepository('team/app');
  const account = (username: string, repositories = ['**']): CredentialSettings => ({
    kind: 'basic',
    repositories,
    username,
    readPassword: async () => 'pw',
  });
  const nameIn = (authorization = '') =>
    Buffer.from(authorization.replace('Basic ', ''), 'base64').toString().split(':')[0];

  /** A registry that answers each account as `answers` says. */
  async function start(
    accounts: readonly CredentialSettings[],
    answers: Record<string, Record<string, string> | number>,
  ) {
    const asked: string[] = [];
    const registry = await serve(({ headers }, response) => {
      if (headers.authorization === undefined) return sendJson(response, {}, 401, { 'www-authenticate': 'Basic' });
      const name = nameIn(headers.authorization) ?? '';
      asked.push(name);
      const answer = answers[name] ?? {};
      if (typeof answer === 'number') return sendJson(response, {}, answer, { 'retry-after': '60' });
      response
        .writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json', ...answer })
        .end('{"schemaVersion":2}');
    });
    const connected = clientOf(registry.url, { credentials: accounts });
    const pull = (name = repository) => connected.client.getManifest(name, parseTag('latest'), unlimited);
    return { asked, pull, ...connected };
  }

  test('when one is rate limited, the next is used until the first may be used again', async () => {
    const answers: Record<string, number> = { ann: 429 };
    const { asked, pull, clock } = await start([account('ann'), account('bob')], answers);

    await pull();
    await pull();
    expect(asked).toEqual(['ann', 'bob', 'bob']);

    delete answers['ann'];
    clock.advance(60_000);
    await pull();
    expect(asked.at(-1)).toBe('ann');
  });

  test('one that has used up its limit is skipped before it is rejected', async () => {
    const usedUp = { 'ratelimit-limit': '200;w=21600', 'ratelimit-remaining': '0;w=21600' };
    const { asked, pull } = await start([account('ann'), account('bob')], { ann: usedUp });

    await pull();
    await pull();

    expect(asked).toEqual(['ann', 'bob']);
  });

  test('when all are rate limited, the 429 is returned, and each was tried once', async () => {
    const { asked, pull, clock } = await start([account('ann'), account('bob')], { ann: 429, bob: 429 });

    await expect(pull()).rejects.toMatchObject({ reason: 'overloaded', retryAfterSeconds: 60 });
    expect(asked).toEqual(['ann', 'bob']);

    clock.advance(20_000);
    await expect(pull()).rejects.toMatchObject({ reason: 'overloaded', retryAfterSeconds: 40 });
    expect(asked).toEqual(['ann', 'bob']);

    clock.advance(40_000);
    await expect(pull()).rejects.toMatchObject({ reason: 'overloaded', retryAfterSeconds: 60 });
    expect(asked).toEqual(['ann', 'bob', 'ann', 'bob']);
  });

  test('one that is rejected is not replaced by another, which might read other repositories', async () => {
    const { asked, pull } = await start([account('ann'), account('bob')], { ann: 403 });

    await expect(pull()).rejects.toMatchObject({ reason: 'refused' });
    expect(asked).toEqual(['ann']);
  });

  test('each is used only for the repositories it is configured for', async () => {
    const { asked, pull } = await start([account('ann', ['team/*']), account('bob', ['other/**'])], { ann: 429 });

    await expect(pull()).rejects.toMatchObject({ reason: 'overloaded' });
    await pull(parseRepository('other/deep/app'));

    expect(asked).toEqual(['ann', 'bob']);
  });

  test('the remaining limit of each is reported without its name', async () => {
    const left = { 'ratelimit-limit': '200;w=21600', 'ratelimit-remaining': '150;w=21600' };
    const { pull, observer } = await start([account('ann'), account('bob')], { ann: 429, bob: left });

    await pull();

    expect(observer.rateLimits).toEqual([
      { upstream: 'registry.test', account: 'basic-2', limit: 200, remaining: 150, windowSeconds: 21_600 },
    ]);
  });
});

describe('one account', () => {
  const repository = parseRepository('team/app');
  const latest = parseTag('latest');
  const digest = parseDigest(`sha256:${'a'.repeat(64)}`);

  /** A registry that answers GETs of manifests with 429, as `how` says. */
  async function limiting(how: (response: ServerResponse) => void, isLimited = (seen: Seen) => isPull(seen)) {
    const registry = await serve((seen, response) => {
      if (isLimited(seen)) return how(response);
      response.writeHead(200, { 'content-type': ociManifest, 'content-length': '19' }).end('{"schemaVersion":2}');
    });
    const connected = clientOf(registry.url);
    const pull = () => connected.client.getManifest(repository, latest, unlimited);
    return { registry, pull, ...connected };
  }
  const isPull = ({ method, url }: Seen) => method === 'GET' && url.pathname.includes('/manifests/');
  const tooManyPulls = (response: ServerResponse) => {
    const message = "You have reached your pull rate limit as 'robot': dckr_jti_x. You may increase the limit";
    sendJson(response, { errors: [{ code: 'TOOMANYREQUESTS', message }] }, 429, { 'retry-after': '120' });
  };
  const abused = (response: ServerResponse) =>
    void response.writeHead(429, { 'content-type': 'text/plain', 'retry-after': '120' }).end('Too Many Requests');

  test("past Docker Hub's limit on pulls no pull is sent, and requests that do not count continue", async () => {
    const { registry, pull, client } = await limiting(tooManyPulls);
    for (let nth = 0; nth < 3; nth++) {
      await expect(pull()).rejects.toMatchObject({ reason: 'overloaded', retryAfterSeconds: 120 });
    }

    expect(await client.headManifest(repository, latest, unlimited)).toMatchObject({ size: 19 });
    expect(await client.headBlob(repository, digest, unlimited)).toEqual({ size: 19 });
    expect(registry.story()).toEqual([
      'GET /v2/team/app/manifests/latest',
      'HEAD /v2/team/app/manifests/latest',
      `HEAD /v2/team/app/blobs/${digest}`,
    ]);
  });

  test("past Docker Hub's limit on all requests, a plain 429, nothing is sent", async () => {
    const { registry, pull, client, clock } = await limiting(abused);
    await expect(pull()).rejects.toMatchObject({ reason: 'overloaded', upstreamStatus: 429 });
    clock.advance(119_000);

    await expect(client.headManifest(repository, latest, unlimited)).rejects.toMatchObject({ retryAfterSeconds: 1 });
    await expect(client.openBlob(repository, digest, unlimited)).rejects.toMatchObject({ reason: 'overloaded' });
    expect(registry.seen).toHaveLength(1);

    clock.advance(1_000);
    expect(await client.headManifest(repository, latest, unlimited)).toMatchObject({ size: 19 });
  });

  test('a 429 to anything but a pull stops all requests, whatever its text says', async () => {
    const { registry, pull, client } = await limiting(tooManyPulls, ({ method }) => method === 'HEAD');
    await expect(client.headManifest(repository, latest, unlimited)).rejects.toMatchObject({ reason: 'overloaded' });

    await expect(pull()).rejects.toMatchObject({ reason: 'overloaded', retryAfterSeconds: 120 });
    expect(registry.seen).toHaveLength(1);
  });

  test('one that names no time is not used for ten seconds', async () => {
    const { registry, pull, clock } = await limiting((response) => sendJson(response, {}, 429));
    await expect(pull()).rejects.toMatchObject({ reason: 'overloaded' });
    clock.advance(9_000);
    await expect(pull()).rejects.toMatchObject({ retryAfterSeconds: 1 });
    expect(registry.seen).toHaveLength(1);

    clock.advance(1_000);
    await expect(pull()).rejects.toMatchObject({ reason: 'overloaded' });
    expect(registry.seen).toHaveLength(2);
  });

  test('one that names a day is used again after an hour', async () => {
    const { registry, pull, clock } = await limiting((response) =>
      sendJson(response, {}, 429, { 'retry-after': '86400' }),
    );
    await expect(pull()).rejects.toMatchObject({ reason: 'overloaded' });
    clock.advance(3_600_000);
    await expect(pull()).rejects.toMatchObject({ reason: 'overloaded' });

    expect(registry.seen).toHaveLength(2);
  });
});

test('a rate-limited token endpoint is asked once, and requests that have a token continue', async () => {
  const registry = await serve(({ url, headers }, response) => {
    const isFirst = (url.searchParams.get('scope') ?? '').includes('team/first');
    if (url.pathname === '/token' && isFirst) return sendJson(response, { token: 'good', expires_in: 3_600 });
    if (url.pathname === '/token') return sendJson(response, {}, 429, { 'retry-after': '30' });
    if (headers.authorization === 'Bearer good') return sendJson(response, { tags: ['v1'] });
    sendJson(response, {}, 401, { 'www-authenticate': `Bearer realm="${registry.url}/token"` });
  });
  const { client, clock } = clientOf(registry.url);
  const list = (name: string) => client.listTags(parseRepository(name), unlimited);
  await list('team/first');

  for (const name of ['team/second', 'team/third', 'team/second']) {
    await expect(list(name)).rejects.toMatchObject({ reason: 'overloaded', retryAfterSeconds: 30 });
  }
  expect(await list('team/first')).toEqual(['v1']);
  expect(registry.story().filter((one) => one === 'GET /token')).toHaveLength(2);

  clock.advance(30_000);
  await expect(list('team/third')).rejects.toMatchObject({ reason: 'overloaded' });
  expect(registry.story().filter((one) => one === 'GET /token')).toHaveLength(3);
});

test('a token endpoint can rate limit an account', async () => {
  const registry = await serve(({ url, headers }, response) => {
    const name = Buffer.from((headers.authorization ?? '').replace('Basic ', ''), 'base64').toString();
    if (url.pathname === '/token') return sendJson(response, { token: 'good' }, name.startsWith('ann') ? 429 : 200);
    if (headers.authorization === 'Bearer good') return sendJson(response, { tags: ['v1'] });
    sendJson(response, {}, 401, { 'www-authenticate': `Bearer realm="${registry.url}/token"` });
  });
  const credentials = ['ann', 'bob'].map(
    (username) => ({ kind: 'basic', repositories: ['**'], username, readPassword: async () => 'pw' }) as const,
  );

  const { client } = clientOf(registry.url, { credentials });

  expect(await client.listTags(parseRepository('a'), unlimited)).toEqual(['v1']);
});

const now = Date.UTC(2030, 0, 1);

test.each([
  { header: '120', expected: 120 },
  { header: ' 120 ', expected: 120 },
  { header: '0', expected: 0 },
  { header: 'Tue, 01 Jan 2030 00:01:30 GMT', expected: 90 },
  { header: 'Mon, 31 Dec 2029 23:00:00 GMT', expected: 0 },
  { header: '99999999', expected: 86_400 },
  { header: String(now / 1_000 + 30), expected: 30 },
  { header: String(now + 30_000), expected: 30 },
  { header: String(now / 1_000 - 30), expected: 0 },
  { header: String(now / 1_000 + 1_000_000), expected: 86_400 },
  { header: '1.5', expected: 2 },
  { header: 'Tue Jan  1 00:01:30 2030 GMT', expected: 90 },
  { header: '2030-01-01T00:01:30Z', expected: 90 },
  { header: '-5', expected: undefined },
  { header: '+7', expected: undefined },
  { header: '120;', expected: undefined },
  { header: 'soon', expected: undefined },
  { header: '', expected: undefined },
  { header: undefined, expected: undefined },
])('Retry-After: $header means $expected seconds', ({ header, expected }) => {
  expect(retryAfterSecondsOf({ 'retry-after': header }, now)).toBe(expected);
});
