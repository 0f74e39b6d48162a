import { describe, expect, test } from 'vitest';
import { parseRepository, parseTag } from '../../../src/oci/reference.ts';
import { rateLimitOf } from '../../../src/upstream/rate-limit.ts';
import type { CredentialSettings } from '../../../src/upstream/settings.ts';
import { sendJson, serve } from './serve.ts';
import { clientOf, patiently } from './start-client.ts';

test.each([
  { limit: '100;w=21600', remaining: '20;w=21600', expected: { limit: 100, remaining: 20, windowSeconds: 21_600 } },
  { limit: '100', remaining: '0', expected: { limit: 100, remaining: 0, windowSeconds: undefined } },
  { limit: '100;w=21600', remaining: undefined, expected: undefined },
  { limit: undefined, remaining: undefined, expected: undefined },
  { limit: 'many', remaining: '20', expected: undefined },
  { limit: '100;w=x', remaining: '20', expected: undefined },
])('ratelimit-limit: $limit with ratelimit-remaining: $remaining is $expected', ({ limit, remaining, expected }) => {
  expect(rateLimitOf({ 'ratelimit-limit': limit, 'ratelimit-remaining': remaining })).toEqual(expected);
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
      response.writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json', ...answer }).end('{}');
    });
    const connected = clientOf(registry.url, { credentials: accounts });
    const pull = (name = repository) => connected.client.getManifest(name, parseTag('latest'), patiently);
    return { asked, pull, ...connected };
  }

  test('when one is told to slow down, the next one goes on, until the first may ask again', async () => {
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

  test('one whose allowance is used up is spared before it is told so', async () => {
    const usedUp = { 'ratelimit-limit': '200;w=21600', 'ratelimit-remaining': '0;w=21600' };
    const { asked, pull } = await start([account('ann'), account('bob')], { ann: usedUp });

    await pull();
    await pull();

    expect(asked).toEqual(['ann', 'bob']);
  });

  test('when all are told to slow down, that is the answer, and each was asked once', async () => {
    const { asked, pull } = await start([account('ann'), account('bob')], { ann: 429, bob: 429 });

    await expect(pull()).rejects.toMatchObject({ trouble: 'overloaded', retryAfterSeconds: 60 });
    expect(asked).toEqual(['ann', 'bob']);

    await expect(pull()).rejects.toMatchObject({ trouble: 'overloaded' });
    expect(asked).toHaveLength(3);
  });

  test('one that is refused is not replaced by another, who might see what it may not', async () => {
    const { asked, pull } = await start([account('ann'), account('bob')], { ann: 403 });

    await expect(pull()).rejects.toMatchObject({ trouble: 'refused' });
    expect(asked).toEqual(['ann']);
  });

  test('each is asked only for the repositories it is for', async () => {
    const { asked, pull } = await start([account('ann', ['team/*']), account('bob', ['other/**'])], { ann: 429 });

    await expect(pull()).rejects.toMatchObject({ trouble: 'overloaded' });
    await pull(parseRepository('other/deep/app'));

    expect(asked).toEqual(['ann', 'bob']);
  });

  test('what is left of each is told, without naming it', async () => {
    const left = { 'ratelimit-limit': '200;w=21600', 'ratelimit-remaining': '150;w=21600' };
    const { pull, observer } = await start([account('ann'), account('bob')], { ann: 429, bob: left });

    await pull();

    expect(observer.rateLimits).toEqual([
      { upstream: 'registry.test', account: 'basic-2', limit: 200, remaining: 150, windowSeconds: 21_600 },
    ]);
  });
});

test('a token endpoint may be the one that tells an account to slow down', async () => {
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

  expect(await client.listTags(parseRepository('a'), patiently)).toEqual(['v1']);
});
