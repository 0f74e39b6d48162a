import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { parseRepository, parseTag, type Repository } from '../../../../src/oci/reference.ts';
import type { UpstreamSettings } from '../../../../src/upstream/settings.ts';
import type { FakeAuthOptions } from '../../../support/fake-auth.ts';
import { startFakeRegistry } from '../../../support/fake-registry.ts';
import { image } from '../../../support/images.ts';
import { sendJson, serve } from '../serve.ts';
import { clientOf, unlimited } from '../start-client.ts';

const [app, other] = [parseRepository('team/app'), parseRepository('team/other')];
const latest = parseTag('latest');
const account = { username: 'robot', password: 's3cr3t' };
const basic = (readPassword: () => Promise<string> = async () => account.password) =>
  ({ kind: 'basic', repositories: ['**'], username: account.username, readPassword }) as const;

async function start(auth: FakeAuthOptions, settings: Partial<UpstreamSettings>) {
  const registry = await startFakeRegistry({ auth });
  for (const repository of [app, other]) registry.content.add(repository, latest, image({ name: repository }));
  const connected = clientOf(registry.url, settings);
  const pull = (repository: Repository = app) => connected.client.headManifest(repository, latest, unlimited);
  return { registry, pull, ...connected };
}

const wrong = { credentials: [basic(async () => 'wrong')] };

test('ten pulls with a wrong password cause one request to the token realm', async () => {
  const { pull, registry } = await start({ kind: 'bearer', ...account }, wrong);

  for (let nth = 0; nth < 10; nth++) {
    await expect(pull(nth % 2 === 0 ? app : other)).rejects.toMatchObject({
      reason: 'refused',
      upstreamStatus: 401,
    });
  }

  expect(registry.count('GET', /^\/token$/)).toBe(1);
});

test('a wrong password is tried once more after a minute', async () => {
  const { pull, registry, clock } = await start({ kind: 'bearer', ...account }, wrong);
  for (const afterMs of [0, 59_000, 1_000, 0]) {
    clock.advance(afterMs);
    await expect(pull()).rejects.toMatchObject({ reason: 'refused' });
  }

  expect(registry.count('GET', /^\/token$/)).toBe(2);
});

test('a corrected password is used at once', async () => {
  const password = { is: 'wrong' };
  const settings = { credentials: [basic(async () => password.is)] };
  const { pull } = await start({ kind: 'bearer', ...account }, settings);
  await expect(pull()).rejects.toMatchObject({ reason: 'refused' });

  password.is = account.password;

  expect(await pull()).toMatchObject({ size: expect.any(Number) });
});

test('ten pulls send a wrong password once to a registry that wants the password itself', async () => {
  const { pull, registry } = await start({ kind: 'basic', ...account }, wrong);

  for (let nth = 0; nth < 10; nth++) await expect(pull()).rejects.toMatchObject({ reason: 'refused' });

  const shown = registry.requests.filter(({ headers }) => headers.authorization !== undefined);
  expect(shown).toHaveLength(1);
});

test('a password that was wrong before and after it was read again is not sent a third time', async () => {
  const passwords = ['old', 'older', 'oldest'];
  const settings = {
    credentials: [basic(async () => (passwords.length > 1 ? passwords.shift() : passwords[0]) ?? '')],
  };
  const { pull, registry } = await start({ kind: 'basic', ...account }, settings);

  for (let nth = 0; nth < 10; nth++) await expect(pull()).rejects.toMatchObject({ reason: 'refused' });

  const shown = registry.requests.flatMap(({ headers }) => headers.authorization ?? []);
  expect(shown).toEqual([...new Set(shown)]);
});

test.each([401, 403])('a repository that the account may not read (%i) does not affect the others', async (status) => {
  const registry = await serve(({ url, headers }, response) => {
    const isForbidden = (url.searchParams.get('scope') ?? '').includes('team/other');
    if (url.pathname === '/token') {
      return sendJson(response, { token: 'good' }, isForbidden ? status : 200);
    }
    if (headers.authorization === undefined) return challenge(response, `Bearer realm="${registry.url}/token"`);
    sendJson(response, { tags: [] });
  });
  const { client } = clientOf(registry.url, { credentials: [basic()] });
  await client.listTags(app, unlimited);

  for (let nth = 0; nth < 5; nth++) {
    await expect(client.listTags(other, unlimited)).rejects.toMatchObject({ reason: 'refused' });
  }

  expect(await client.listTags(parseRepository('team/third'), unlimited)).toEqual([]);
  expect(registry.story().filter((one) => one === 'GET /token')).toHaveLength(3);
});

function challenge(response: ServerResponse, value: string): void {
  response.writeHead(401, { 'www-authenticate': value }).end();
}
