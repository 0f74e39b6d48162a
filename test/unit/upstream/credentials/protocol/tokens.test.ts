import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { parseRepository, parseTag, type Repository } from '../../../../../src/oci/reference.ts';
import { defaultUpstreamSettings, type UpstreamSettings } from '../../../../../src/upstream/settings.ts';
import type { FakeAuthOptions } from '../../../../support/fake-auth.ts';
import { startFakeRegistry } from '../../../../support/fake-registry.ts';
import { gate } from '../../../../support/gate.ts';
import { image } from '../../../../support/images.ts';
import { clientOf, patiently } from '../../start-client.ts';
import { countConnections } from '../../count-connections.ts';
import { sendJson, type Server, serve } from '../../serve.ts';

const app = parseRepository('team/app');
const other = parseRepository('team/other');
const latest = parseTag('latest');
const [appDigest, digestName] = [`sha256:${'a'.repeat(64)}`, 'docker-content-digest'] as const;
const manifestHeaders = { 'content-type': 'application/vnd.oci.image.manifest.v1+json', [digestName]: appDigest };
const account = { username: 'robot', password: 's3cr3t' };
const basic = (readPassword: () => Promise<string> = async () => account.password) =>
  ({ kind: 'basic', repositories: ['**'], username: account.username, readPassword }) as const;

async function start(auth: FakeAuthOptions, settings: Partial<UpstreamSettings> = {}) {
  const registry = await startFakeRegistry({ auth });
  for (const repository of [app, other]) registry.content.add(repository, latest, image({ name: repository }));
  const connected = clientOf(registry.url, settings);
  const pull = (repository: Repository = app) => connected.client.headManifest(repository, latest, patiently);
  return { registry, pull, ...connected };
}

test('a token is fetched once, and the next request carries it at once', async () => {
  const { pull, observer } = await start({ kind: 'bearer' });

  await pull();
  await pull();

  expect(observer.story).toEqual(['HEAD manifest 401', 'GET token 200', 'HEAD manifest 200', 'HEAD manifest 200']);
});

test('ten pulls at once that need one token cause one token request', async () => {
  const { pull, registry } = await start({ kind: 'bearer' });

  await Promise.all(Array.from({ length: 10 }, () => pull()));

  expect(registry.count('GET', /^\/token$/)).toBe(1);
});

test('each repository has a token of its own, for pulling only, asked for with the account', async () => {
  const { pull, registry } = await start({ kind: 'bearer', ...account }, { credentials: [basic()] });

  await pull(app);
  await pull(other);

  const tokens = registry.seen('GET', /^\/token$/);
  expect(tokens.map(({ query }) => Object.fromEntries(query))).toEqual(
    [app, other].map((repository) => ({
      service: 'fake',
      scope: `repository:${repository}:pull`,
      account: 'robot',
      client_id: 'layerwell',
    })),
  );
  expect(registry.count('HEAD')).toBe(3);
});

test('a token that ends is renewed before it does', async () => {
  const { pull, observer, clock } = await start({ kind: 'bearer', expiresInSeconds: 300 });
  await pull();
  clock.advance(269_000);
  await pull();
  expect(observer.story).toHaveLength(4);

  clock.advance(2_000);
  await pull();

  expect(observer.story.slice(4)).toEqual(['GET token 200', 'HEAD manifest 200']);
});

test('a token that is refused before its time is renewed once', async () => {
  const { pull, registry, observer } = await start({ kind: 'bearer' });
  await pull();
  registry.auth.revokeTokens();

  await pull();

  expect(observer.story.slice(3)).toEqual(['HEAD manifest 401', 'GET token 200', 'HEAD manifest 200']);
});

test('ten pulls at once whose token was refused renew it once', async () => {
  const { pull, registry } = await start({ kind: 'bearer' });
  await pull();
  registry.auth.revokeTokens();

  await Promise.all(Array.from({ length: 10 }, () => pull()));

  expect(registry.count('GET', /^\/token$/)).toBe(2);
});

test('an account the token endpoint refuses is tried once', async () => {
  const { pull, registry } = await start({ kind: 'bearer', ...account }, { credentials: [basic(async () => 'wrong')] });

  await expect(pull()).rejects.toMatchObject({ name: 'UpstreamError', trouble: 'refused' });

  expect(registry.count('GET', /^\/token$/)).toBe(1);
});

test('an anonymous caller who is refused is denied, for that is an answer', async () => {
  const { pull } = await start({ kind: 'bearer', ...account, privateRepositories: [app] });

  await expect(pull(app)).rejects.toMatchObject({ name: 'OciError', code: 'DENIED' });
  expect(await pull(other)).toMatchObject({ size: expect.any(Number) });
});

test('where a registry wants the password itself, it gets it at once from the second request on', async () => {
  const { pull, observer } = await start({ kind: 'basic', ...account }, { credentials: [basic()] });

  await pull();
  await pull();

  expect(observer.story).toEqual(['HEAD manifest 401', 'HEAD manifest 200', 'HEAD manifest 200']);
});

test('a password that was rotated is read anew', async () => {
  const passwords = ['old', 'old', account.password];
  const { pull, observer } = await start(
    { kind: 'basic', ...account },
    { credentials: [basic(async () => passwords.shift() ?? account.password)] },
  );

  await pull();

  expect(observer.story).toEqual(['HEAD manifest 401', 'HEAD manifest 401', 'HEAD manifest 200']);
});

test('a password that stays wrong is sent once', async () => {
  const { pull, observer } = await start({ kind: 'basic', ...account }, { credentials: [basic(async () => 'wrong')] });

  await expect(pull()).rejects.toMatchObject({ trouble: 'refused' });

  expect(observer.story).toEqual(['HEAD manifest 401', 'HEAD manifest 401']);
});

test('an account is used only for the repositories it is for', async () => {
  const { pull, registry } = await start(
    { kind: 'bearer', ...account, privateRepositories: [app] },
    { credentials: [{ ...basic(), repositories: ['team/app'] }] },
  );

  await pull(app);
  await pull(other);

  expect(registry.seen('GET', /^\/token$/).map(({ query }) => query.get('account'))).toEqual(['robot', null]);
});

test.each([
  { where: 'at another port of the same address', realm: (port: number) => `http://127.0.0.1:${port}/token` },
  { where: 'under another name', realm: (port: number) => `http://localhost:${port}/token` },
])('a registry that asks to bring the password to somebody else, $where, gets nothing', async ({ realm }) => {
  const evil = await countConnections();
  // Redirects may lead there; that makes it no place for a password.
  const settings = { credentials: [basic()], redirectHosts: [`127.0.0.1:${evil.port}`, `localhost:${evil.port}`] };
  const { pull } = await start({ kind: 'bearer', ...account, realm: realm(evil.port) }, settings);

  await expect(pull()).rejects.toMatchObject({
    trouble: 'misbehaving',
    message: expect.stringContaining('realmHosts'),
  });

  expect(evil.connections()).toBe(0);
});

test('a token endpoint elsewhere is asked when it is listed', async () => {
  const tokens = await startFakeRegistry({ auth: { kind: 'bearer', ...account } });
  const { pull } = await start(
    { kind: 'bearer', ...account, realm: `${tokens.url}/token` },
    { credentials: [basic()], realmHosts: [tokens.host] },
  );

  await expect(pull()).rejects.toMatchObject({ trouble: 'refused' });

  expect(tokens.count('GET', /^\/token$/)).toBeGreaterThan(0);
});

test('a token endpoint that redirects to another origin is not followed', async () => {
  const evil = await countConnections();
  const { pull, registry } = await start({ kind: 'bearer', ...account }, { credentials: [basic()] });
  registry.script({ path: /^\/token$/ }, { redirectTo: () => `http://127.0.0.1:${evil.port}/token` });

  await expect(pull()).rejects.toMatchObject({ trouble: 'misbehaving' });

  expect(evil.connections()).toBe(0);
});

test.each([301, 302, 303, 307, 308])(
  'a token endpoint that answers %i within its own origin is followed, with the password',
  async (status) => {
    const registry: Server = await serve(({ url, headers }, response) => {
      if (url.pathname === '/token') {
        return void response.writeHead(status, { location: `/auth/token${url.search}` }).end();
      }
      if (url.pathname === '/auth/token') {
        return sendJson(response, {
          token: headers.authorization === `Basic ${btoa('robot:s3cr3t')}` ? 'good' : 'of a stranger',
        });
      }
      if (headers.authorization === 'Bearer good') return void response.writeHead(200, manifestHeaders).end();
      response.writeHead(401, { 'www-authenticate': `Bearer realm="${registry.url}/token",service="s"` }).end();
    });
    const { client } = clientOf(registry.url, { credentials: [basic()] });

    expect(await client.headManifest(app, latest, patiently)).toMatchObject({ digest: appDigest });
    expect(registry.seen[2]?.url.searchParams.get('scope')).toBe(`repository:${app}:pull`);
  },
);

test.each([301, 302, 307, 308])('an identity token is posted again where a %i leads', async (status) => {
  const registry: Server = await serve(({ method, url, headers, form }, response) => {
    if (url.pathname === '/token') return void response.writeHead(status, { location: '/auth/token' }).end();
    if (url.pathname === '/auth/token') {
      const isGrant = method === 'POST' && form.get('refresh_token') === 'identity';
      return sendJson(response, { access_token: isGrant ? 'good' : 'of a stranger' });
    }
    if (headers.authorization === 'Bearer good') return void response.writeHead(200, manifestHeaders).end();
    response.writeHead(401, { 'www-authenticate': `Bearer realm="${registry.url}/token",service="s"` }).end();
  });
  const account = { kind: 'bearer-token', repositories: ['**'], readToken: async () => 'identity' } as const;
  const { client } = clientOf(registry.url, { credentials: [account] });

  expect(await client.headManifest(app, latest, patiently)).toMatchObject({ digest: appDigest });
});

test('a token endpoint that redirects in circles is given up after five redirects', async () => {
  const { pull, registry } = await start({ kind: 'bearer', ...account }, { credentials: [basic()] });
  registry.script({ path: /^\/token$/ }, { redirectTo: () => '/token' });

  await expect(pull()).rejects.toMatchObject({
    trouble: 'misbehaving',
    message: expect.stringContaining('redirects more than 5 times'),
  });

  expect(registry.count('GET', /^\/token$/)).toBe(6);
});

test('whoever stops waiting for a token leaves it to the others', async () => {
  const tokens = gate();
  const { pull, registry, client } = await start({ kind: 'bearer' });
  registry.script({ path: /^\/token$/ }, { holdHeaders: tokens });
  const leaving = new AbortController();
  const left = client.headManifest(app, latest, leaving);
  const stayed = pull();
  await registry.arrived('GET', /^\/token$/);

  leaving.abort(new Error('the client left'));
  await expect(left).rejects.toThrow('the client left');
  tokens.open();

  expect(await stayed).toMatchObject({ size: expect.any(Number) });
  expect(registry.count('GET', /^\/token$/)).toBe(1);
});

test('a token endpoint that does not answer in time is trouble, and asked anew next time', async () => {
  const never = gate();
  const timeouts = { ...defaultUpstreamSettings.timeouts, tokenMs: 500 };
  const { pull, registry } = await start({ kind: 'bearer' }, { timeouts });
  registry.script({ path: /^\/token$/, times: 1 }, { holdHeaders: never });

  await expect(pull()).rejects.toMatchObject({ trouble: 'timeout' });

  expect(await pull()).toMatchObject({ size: expect.any(Number) });
});

test.each([
  { what: 'no token', status: 200, body: '{}', trouble: 'misbehaving' },
  { what: 'a book', status: 200, body: `{"token":"${'t'.repeat(100_000)}"}`, trouble: 'misbehaving' },
  { what: 'a page', status: 200, body: '<html>', trouble: 'misbehaving' },
  { what: 'that there is nothing', status: 404, body: '', trouble: 'misbehaving' },
  { what: 'that it is overloaded', status: 429, body: '', trouble: 'overloaded' },
  { what: 'that it is broken', status: 500, body: '', trouble: 'unavailable' },
])('a token endpoint that answers $what is trouble ($trouble)', async ({ status, body, trouble }) => {
  const registry = await serve(({ url }, response) => {
    if (url.pathname === '/token') return void response.writeHead(status, { 'retry-after': '7' }).end(body);
    challenge(response, `Bearer realm="${registry.url}/token"`);
  });
  const { client } = clientOf(registry.url, { credentials: [basic()] });

  await expect(client.headManifest(app, latest, patiently)).rejects.toMatchObject({ name: 'UpstreamError', trouble });
});

function challenge(response: ServerResponse, value: string): void {
  response.writeHead(401, { 'www-authenticate': value }).end();
}

test('tokens that nobody waits for any more are not asked for any longer, however many repositories a client named', async () => {
  const { timeouts } = defaultUpstreamSettings;
  const { registry, client, pull } = await start(
    { kind: 'bearer' },
    { timeouts: { ...timeouts, headersMs: 600_000, tokenMs: 600_000 } },
  );
  registry.script({ path: /^\/token$/ }, { holdHeaders: gate() });
  const leaving = new AbortController();
  const names = Array.from({ length: 20 }, (_, nth) => parseRepository(`team/app-${nth}`));
  const pulls = Promise.allSettled(names.map((name) => client.headManifest(name, latest, leaving)));
  await registry.arrived('GET', /^\/token$/, names.length);
  leaving.abort(new Error('left'));
  await pulls;
  const ends = await Promise.all(registry.seen('GET', /^\/token$/).map(({ ended }) => ended));
  expect(new Set(ends)).toEqual(new Set(['aborted']));
  registry.clearScripts();
  await pull();
});
