import { TLSSocket } from 'node:tls';
import nock from 'nock';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import type { UpstreamSettings } from '../../../../src/upstream/settings.ts';
import { type FakeRegistry, startFakeRegistry } from '../../../support/fake-registry.ts';
import { image } from '../../../support/images.ts';
import { selfSigned } from '../certificates.ts';
import { serveTls } from '../serve-tls.ts';
import { clientOf, unlimited } from '../start-client.ts';

const app = parseRepository('team/app');
const latest = parseTag('latest');
const account = { username: 'mirror', password: 'secret' };
const credentials: UpstreamSettings['credentials'] = [
  { kind: 'basic', repositories: ['**'], username: account.username, readPassword: async () => account.password },
];

async function registryThat(hides: readonly string[] = []): Promise<FakeRegistry> {
  const registry = await startFakeRegistry({ auth: { kind: 'bearer', ...account, privateRepositories: hides } });
  registry.content.add(app, 'latest', image());
  return registry;
}

const ask = ({ url }: { url: string }, reference = latest, settings: Partial<UpstreamSettings> = { credentials }) =>
  clientOf(url, settings).client.askVisibility(app, reference, unlimited);

test('a repository that anonymous clients may read is public: one HEAD finds out, and no manifest is pulled', async () => {
  const registry = await registryThat();
  expect(await ask(registry)).toBe('public');
  expect(registry.count('GET', /\/v2\/.+/)).toBe(0);
});

test('a repository that only the account may read is hidden, and the account is not used to find out', async () => {
  const registry = await registryThat([app]);
  const { client } = clientOf(registry.url, { credentials });
  // The account has its token, and may read it.
  await client.getManifest(app, latest, unlimited);
  registry.forgetRequests();
  expect(await client.askVisibility(app, latest, unlimited)).toBe('hidden');
  expect(registry.seen('GET', /\/token/).filter(({ headers }) => headers.authorization)).toEqual([]);
  expect(registry.count('GET', /\/manifests\//)).toBe(0);
});

test('a registry that wants a password from everyone hides everything', async () => {
  const registry = await startFakeRegistry({ auth: { kind: 'basic', ...account } });
  registry.content.add(app, 'latest', image());
  expect(await ask(registry)).toBe('hidden');
  expect(registry.requests.map(({ headers }) => headers.authorization).filter(Boolean)).toEqual([]);
});

test('a repository that does not exist is hidden', async () => {
  const registry = await startFakeRegistry();
  expect(await ask(registry)).toBe('hidden');
});

test('a missing tag says nothing about its repository: one of its tags is listed', async () => {
  const registry = await registryThat();
  expect(await ask(registry, parseTag('none'))).toBe('public');
  expect(
    registry
      .seen('GET', /\/tags\/list/)
      .at(-1)
      ?.query.get('n'),
  ).toBe('1');
});

test('without a manifest to ask for, one of its tags is listed', async () => {
  const asked = async (registry: FakeRegistry) =>
    clientOf(registry.url, { credentials }).client.askVisibility(app, undefined, unlimited);
  const [open, hidden] = [await registryThat(), await registryThat([app])];
  expect(await asked(open)).toBe('public');
  expect(await asked(hidden)).toBe('hidden');
  expect(open.count('HEAD')).toBe(0);
});

test.each([400, 403, 405, 406, 410, 411, 500, 501])(
  'a registry that rejects HEAD (%i) and has the manifest for anonymous clients is public, and gets no HEAD after the second time',
  async (status) => {
    const registry = await registryThat();
    const { client } = clientOf(registry.url, { credentials });
    registry.script({ method: 'HEAD' }, { status });
    for (let times = 0; times < 3; times += 1)
      expect(await client.askVisibility(app, latest, unlimited)).toBe('public');
    const withToken = registry.seen('HEAD').filter(({ headers }) => headers.authorization);
    expect(withToken).toHaveLength([405, 411, 501].includes(status) ? 1 : 2);
    expect(registry.count('GET', /\/tags\//)).toBe(0);
  },
);

test('a repository whose manifests are behind URLs that are signed for GET is public', async () => {
  const [registry, store] = [await registryThat(), await startFakeRegistry()];
  store.content.add(app, 'latest', image());
  store.script({ method: 'HEAD' }, { status: 403 });
  registry.script({ path: /\/manifests\// }, { redirectTo: (path) => `${store.url}${path}` });
  expect(await ask(registry, latest, { credentials, redirectHosts: [store.host] })).toBe('public');
});

test('a repository that a registry without HEAD keeps from anonymous clients is hidden', async () => {
  const registry = await registryThat([app]);
  registry.script({ method: 'HEAD' }, { status: 405 });
  const open = await registryThat();
  open.script({ path: /\/manifests\// }, { status: 403 });
  expect([await ask(registry), await ask(open)]).toEqual(['hidden', 'hidden']);
});

test.each([
  { status: 429, reason: 'overloaded' },
  { status: 500, reason: 'unavailable' },
  { status: 302, reason: 'misbehaving' },
])('$status is no verdict', async ({ status, reason }) => {
  const registry = await registryThat();
  registry.script({ path: /\/manifests\// }, { status });
  await expect(ask(registry)).rejects.toMatchObject({ reason });
});

test('the repository prefix of the upstream is applied to visibility checks', async () => {
  const registry = await startFakeRegistry();
  registry.content.add(`hub/${app}`, 'latest', image());
  expect(await ask(registry, latest, { credentials, repositoryPrefix: 'hub' })).toBe('public');
});

test('the client certificate is not used for visibility checks', async () => {
  const [server, own] = [await selfSigned('registry'), await selfSigned('mirror')];
  const shown: boolean[] = [];
  const options = { cert: server.certificate, key: server.key, requestCert: true, rejectUnauthorized: false };
  const url = await serveTls(options, ({ socket }) => {
    shown.push(socket instanceof TLSSocket && socket.getPeerX509Certificate() !== undefined);
  });
  const tls = { insecureSkipVerify: true, certificate: own.certificate, key: own.key };
  const { client } = clientOf(url, { tls });

  await client.headManifest(app, latest, unlimited);
  expect(await client.askVisibility(app, latest, unlimited)).toBe('public');

  expect(shown).toEqual([true, false]);
});

describe('a token endpoint refuses anonymous tokens for private repositories', () => {
  beforeEach(() => nock.disableNetConnect());
  afterEach(() => {
    nock.cleanAll();
    nock.enableNetConnect();
  });

  test.each([401, 403])('GitLab and ghcr.io (%i): hidden', async (status) => {
    nock('https://registry.gitlab.example').head('/v2/team/app/manifests/latest').reply(401, '', {
      'WWW-Authenticate': 'Bearer realm="https://gitlab.example/jwt/auth",service="container_registry"',
    });
    nock('https://gitlab.example', { badheaders: ['authorization'] })
      .get('/jwt/auth')
      .query(true)
      .reply(status, '{}');
    expect(await ask({ url: 'https://registry.gitlab.example' })).toBe('hidden');
    expect(nock.pendingMocks()).toEqual([]);
  });
});
