import { expect, test } from 'vitest';
import { defaultUpstreamSettings } from '../../../../../src/upstream/settings.ts';
import { startFakeRegistry } from '../../../../support/fake-registry.ts';
import { gate } from '../../../../support/gate.ts';
import { clientOf, unlimited } from '../../start-client.ts';
import { account, app, basic, latest, start } from './start-pulling.ts';
import { countConnections } from '../../count-connections.ts';
import { sendJson, type Server, serve } from '../../serve.ts';

const [appDigest, digestName] = [`sha256:${'a'.repeat(64)}`, 'docker-content-digest'] as const;
const manifestHeaders = { 'content-type': 'application/vnd.oci.image.manifest.v1+json', [digestName]: appDigest };
test.each([
  { where: 'at another port of the same address', realm: (port: number) => `http://127.0.0.1:${port}/token` },
  { where: 'under another name', realm: (port: number) => `http://localhost:${port}/token` },
])('a registry with a realm on another host, $where, does not get the password sent there', async ({ realm }) => {
  const evil = await countConnections();
  // Redirects may lead there; that makes it no place for a password.
  const settings = { credentials: [basic()], redirectHosts: [`127.0.0.1:${evil.port}`, `localhost:${evil.port}`] };
  const { pull } = await start({ kind: 'bearer', ...account, realm: realm(evil.port) }, settings);

  await expect(pull()).rejects.toMatchObject({
    reason: 'misbehaving',
    message: expect.stringContaining('realmHosts'),
  });

  expect(evil.connections()).toBe(0);
});

test('a token endpoint on another host is used when it is listed', async () => {
  const tokens = await startFakeRegistry({ auth: { kind: 'bearer', ...account } });
  const { pull } = await start(
    { kind: 'bearer', ...account, realm: `${tokens.url}/token` },
    { credentials: [basic()], realmHosts: [tokens.host] },
  );

  await expect(pull()).rejects.toMatchObject({ reason: 'refused' });

  expect(tokens.count('GET', /^\/token$/)).toBeGreaterThan(0);
});

test('a token endpoint that redirects to another origin is not followed, though blobs may be redirected there', async () => {
  const evil = await countConnections();
  const settings = { credentials: [basic()], redirectHosts: [`127.0.0.1:${evil.port}`] };
  const { pull, registry } = await start({ kind: 'bearer', ...account }, settings);
  registry.script({ path: /^\/token$/ }, { redirectTo: () => `http://127.0.0.1:${evil.port}/token` });

  await expect(pull()).rejects.toMatchObject({ reason: 'misbehaving' });

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
          token: headers.authorization === `Basic ${btoa('robot:s3cr3t')}` ? 'good' : 'anonymous',
        });
      }
      if (headers.authorization === 'Bearer good') return void response.writeHead(200, manifestHeaders).end();
      response.writeHead(401, { 'www-authenticate': `Bearer realm="${registry.url}/token",service="s"` }).end();
    });
    const { client } = clientOf(registry.url, { credentials: [basic()] });

    expect(await client.headManifest(app, latest, unlimited)).toMatchObject({ digest: appDigest });
    expect(registry.seen[2]?.url.searchParams.get('scope')).toBe(`repository:${app}:pull`);
  },
);

test.each([301, 302, 307, 308])('an identity token is posted again to the target of a %i', async (status) => {
  const registry: Server = await serve(({ method, url, headers, form }, response) => {
    if (url.pathname === '/token') return void response.writeHead(status, { location: '/auth/token' }).end();
    if (url.pathname === '/auth/token') {
      const isGrant = method === 'POST' && form.get('refresh_token') === 'identity';
      return sendJson(response, { access_token: isGrant ? 'good' : 'anonymous' });
    }
    if (headers.authorization === 'Bearer good') return void response.writeHead(200, manifestHeaders).end();
    response.writeHead(401, { 'www-authenticate': `Bearer realm="${registry.url}/token",service="s"` }).end();
  });
  const account = { kind: 'bearer-token', repositories: ['**'], readToken: async () => 'identity' } as const;
  const { client } = clientOf(registry.url, { credentials: [account] });

  expect(await client.headManifest(app, latest, unlimited)).toMatchObject({ digest: appDigest });
});

test('a redirect loop of a token endpoint is given up after five redirects', async () => {
  const { pull, registry } = await start({ kind: 'bearer', ...account }, { credentials: [basic()] });
  registry.script({ path: /^\/token$/ }, { redirectTo: () => '/token' });

  await expect(pull()).rejects.toMatchObject({
    reason: 'misbehaving',
    message: expect.stringContaining('redirects more than 5 times'),
  });

  expect(registry.count('GET', /^\/token$/)).toBe(6);
});

test('a token endpoint that does not answer in time fails the request, and is asked again next time', async () => {
  const never = gate();
  const timeouts = { ...defaultUpstreamSettings.timeouts, tokenMs: 500 };
  const { pull, registry } = await start({ kind: 'bearer' }, { timeouts });
  registry.script({ path: /^\/token$/, times: 1 }, { holdHeaders: never });

  await expect(pull()).rejects.toMatchObject({ reason: 'timeout' });

  expect(await pull()).toMatchObject({ size: expect.any(Number) });
});
