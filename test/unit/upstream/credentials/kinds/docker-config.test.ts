import { rename, symlink, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { parseDigest } from '../../../../../src/oci/digest.ts';
import { parseRepository, parseTag } from '../../../../../src/oci/reference.ts';
import { createDockerConfigCredentials } from '../../../../../src/upstream/credentials/kinds/docker-config.ts';
import { parseDockerConfig, secretFor } from '../../../../../src/upstream/credentials/kinds/docker-config-file.ts';
import type { UpstreamSettings } from '../../../../../src/upstream/settings.ts';
import { startFakeRegistry } from '../../../../support/fake-registry.ts';
import { image } from '../../../../support/images.ts';
import { thisTest } from '../../../../support/owner.ts';
import { temporaryDirectory } from '../../../../support/temp-directory.ts';
import { sendJson, serve } from '../../serve.ts';
import { clientOf, unlimited } from '../../start-client.ts';
import { accountDeps } from '../account-deps.ts';
import { printing, writeHelper } from '../../../../support/write-helper.ts';

const auth = (pair: string) => ({ auth: Buffer.from(pair).toString('base64') });

async function start(config: unknown, name = 'ghcr.io') {
  const directory = await temporaryDirectory();
  const configFile = join(directory, 'config.json');
  const write = (next: unknown) => writeFile(configFile, typeof next === 'string' ? next : JSON.stringify(next));
  await write(config);
  const credentials = createDockerConfigCredentials({ configFile }, accountDeps(name));
  return { directory, configFile, write, credentials, secret: () => credentials.secret(unlimited) };
}

describe('an entry is looked up', () => {
  const config = parseDockerConfig(
    JSON.stringify({
      auths: {
        'https://index.docker.io/v1/': auth('hub:pw'),
        'https://ghcr.io': auth('gh:pw:with:colons'),
        'quay.io': { username: 'quay', password: 'pw' },
        'registry.corp:5000': auth('corp:pw\0\0'),
        'azure.example': { ...auth('00000000-0000-0000-0000-000000000000:'), identitytoken: 'refresh' },
        'token.example': { registrytoken: 'ready' },
        'broken.example': { auth: '!!!' },
        'nameless.example': auth(':pw'),
        'empty.example': {},
        'v2.example/v2/': auth('v2:pw'),
      },
    }),
  );
  const basic = (username: string, password: string) => ({ kind: 'basic', username, password });

  test.each([
    { server: 'https://index.docker.io/v1/', expected: basic('hub', 'pw') },
    { server: 'ghcr.io', expected: basic('gh', 'pw:with:colons') },
    { server: 'GHCR.io', expected: basic('gh', 'pw:with:colons') },
    { server: 'quay.io', expected: basic('quay', 'pw') },
    { server: 'registry.corp:5000', expected: basic('corp', 'pw') },
    { server: 'registry.corp', expected: undefined },
    { server: 'azure.example', expected: { kind: 'identity-token', token: 'refresh' } },
    { server: 'token.example', expected: { kind: 'registry-token', token: 'ready' } },
    { server: 'broken.example', expected: undefined },
    { server: 'nameless.example', expected: undefined },
    { server: 'empty.example', expected: undefined },
    { server: 'unknown.example', expected: undefined },
    { server: '__proto__', expected: undefined },
    { server: 'v2.example', expected: basic('v2', 'pw') },
  ])('for $server as $expected', ({ server, expected }) => {
    expect(secretFor(config, server, undefined)).toEqual(expected);
  });

  test.each(['', 'not JSON: s3cr3t', '[]', 'null'])(
    '%j is rejected as a Docker configuration, and the error does not quote it',
    (text) => {
      expect(() => parseDockerConfig(text)).toThrowError(/^it is not a JSON object$/);
    },
  );

  test.each(['docker.io', 'registry-1.docker.io'])('Docker Hub has an entry under %s as well', (name) => {
    const config = parseDockerConfig(JSON.stringify({ auths: { [name]: auth('hub:pw') } }));

    expect(secretFor(config, 'https://index.docker.io/v1/', undefined)).toEqual(basic('hub', 'pw'));
  });

  const namespaced = parseDockerConfig(
    JSON.stringify({
      auths: {
        'quay.io': auth('all:pw'),
        'quay.io/org/app': auth('app:pw'),
        'quay.io/org': auth('org:pw'),
        'docker.io/team/': auth('team:pw'),
      },
    }),
  );

  test.each([
    { server: 'quay.io', repository: 'org/app', expected: basic('app', 'pw') },
    { server: 'quay.io', repository: 'org/app/deeper', expected: basic('app', 'pw') },
    { server: 'quay.io', repository: 'org/application', expected: basic('org', 'pw') },
    { server: 'quay.io', repository: 'organisation/app', expected: basic('all', 'pw') },
    { server: 'quay.io', repository: undefined, expected: basic('all', 'pw') },
    { server: 'https://index.docker.io/v1/', repository: 'team/app', expected: basic('team', 'pw') },
    { server: 'https://index.docker.io/v1/', repository: 'library/app', expected: undefined },
  ])("podman's keys: for $repository of $server the longest key applies", ({ server, repository, expected }) => {
    const wanted = repository === undefined ? undefined : parseRepository(repository);

    expect(secretFor(namespaced, server, wanted)).toEqual(expected);
  });
});

test('a rewritten file applies from the next request on', async () => {
  const { secret, write } = await start({ auths: { 'ghcr.io': auth('robot:old') } });
  expect(await secret()).toMatchObject({ password: 'old' });

  await write({ auths: { 'ghcr.io': auth('robot:newer') } });

  expect(await secret()).toMatchObject({ password: 'newer' });
});

test('a secret mounted by Kubernetes applies when its symbolic link changes', async () => {
  const { secret, directory, configFile } = await start({ auths: { 'ghcr.io': auth('robot:old') } });
  await secret();
  const [next, link] = [join(directory, 'next.json'), join(directory, 'link.json')];
  await writeFile(next, JSON.stringify({ auths: { 'ghcr.io': auth('robot:new') } }));
  await symlink(next, link);

  await rename(link, configFile);

  expect(await secret()).toMatchObject({ password: 'new' });
});

test.each([
  { what: 'is gone', path: '/nowhere/config.json', text: '' },
  { what: 'is broken', path: undefined, text: '{"auths": s3cr3t' },
])('a file that $what fails the request, and the error does not quote it', async ({ path, text }) => {
  const { configFile } = await start(text);
  const credentials = createDockerConfigCredentials({ configFile: path ?? configFile }, accountDeps('ghcr.io'));

  const failure: unknown = await credentials.secret(unlimited).catch((error: unknown) => error);

  expect(failure).toMatchObject({ name: 'UpstreamError', reason: 'refused' });
  expect(String(failure instanceof Error && failure.cause)).not.toContain('s3cr3t');
});

describe('credential helpers', () => {
  async function withHelpers(config: object, name?: string) {
    const started = await start(config, name);
    vi.stubEnv('PATH', `${started.directory}${delimiter}${process.env['PATH'] ?? ''}`);
    thisTest(async () => void vi.unstubAllEnvs());
    const own = await writeHelper(started.directory, 'docker-credential-own', printing('own', 'pw'));
    const store = await writeHelper(started.directory, 'docker-credential-store', printing('store', 'pw'));
    return { ...started, own, store };
  }
  const config = { credHelpers: { 'ghcr.io': 'own' }, credsStore: 'store', auths: { 'ghcr.io': auth('file:pw') } };

  test("a registry's own helper beats the store, and the store beats the file", async () => {
    expect(await (await withHelpers(config)).secret()).toMatchObject({ username: 'own' });
    expect(await (await withHelpers({ ...config, credHelpers: {} })).secret()).toMatchObject({ username: 'store' });
  });

  test('an account that the store lacks is looked up in the file', async () => {
    const { secret, store } = await withHelpers({ ...config, credHelpers: {} });
    await store.replaceWith('echo "credentials not found in native keychain"; exit 1');

    expect(await secret()).toMatchObject({ username: 'file' });
  });

  test('a helper does not run for every request', async () => {
    const { secret, own } = await withHelpers(config);

    await Promise.all(Array.from({ length: 10 }, secret));
    await secret();

    expect(await own.asked()).toEqual(['get ghcr.io']);
  });

  test('a helper whose name is a path is rejected', async () => {
    const { secret } = await withHelpers({ ...config, credsStore: '../../bin/sh', credHelpers: { 'ghcr.io': 'a b' } });

    expect(await secret()).toMatchObject({ username: 'file' });
  });
});

const hostOf = ({ url }: { readonly url: string }) => new URL(url).host;

/** A client of `url`, known to clients as registry.test, with what the configuration says of it. */
async function clientWith(config: unknown, url: string, more: Partial<UpstreamSettings> = {}) {
  const { configFile, write } = await start(config);
  const credentials = [{ kind: 'docker-config', repositories: ['**'], configFile }] as const;
  return { write, ...clientOf(url, { credentials, ...more }), credentials };
}

test('pulls with the account of a Docker configuration continue when the file rotates', async () => {
  const registry = await startFakeRegistry({ auth: { kind: 'bearer', username: 'robot', password: 'new' } });
  const repository = parseRepository('team/app');
  registry.content.add(repository, 'latest', image());
  const { client, write } = await clientWith({ auths: { [hostOf(registry)]: auth('robot:old') } }, registry.url);
  const pull = () => client.headManifest(repository, parseTag('latest'), unlimited);

  await expect(pull()).rejects.toMatchObject({ reason: 'refused' });
  expect(registry.count('GET', /^\/token$/)).toBe(1);
  await write({ auths: { [hostOf(registry)]: auth('robot:new') } });

  expect(await pull()).toMatchObject({ size: expect.any(Number) });
});

test('each namespace is pulled with its own account and its own token', async () => {
  const nameIn = (header = '') => Buffer.from(header.replace('Basic ', ''), 'base64').toString().split(':')[0];
  const registry = await serve(({ url, headers }, response) => {
    if (url.pathname === '/token') return sendJson(response, { token: `of-${nameIn(headers.authorization)}` });
    const challenge = `Bearer realm="${registry.url}/token",scope="one-for-all"`;
    sendJson(response, { tags: [] }, headers.authorization === undefined ? 401 : 200, {
      'www-authenticate': challenge,
    });
  });
  const auths = { [registry.host]: auth('all:pw'), [`${registry.host}/org`]: auth('org:pw') };
  const { client } = await clientWith({ auths }, registry.url);

  for (const name of ['org/app', 'other/app', 'org/second']) await client.listTags(parseRepository(name), unlimited);

  const shown = registry.seen
    .filter(({ url }) => url.pathname !== '/token')
    .map(({ headers }) => headers.authorization);
  expect(shown).toEqual([undefined, 'Bearer of-org', 'Bearer of-all', 'Bearer of-org']);
});

test("a mirror of a registry never gets the registry's account, only its own", async () => {
  const digest = parseDigest(`sha256:${'a'.repeat(64)}`);
  const asked = { mirror: [] as string[], registry: [] as string[] };
  const wanting = (who: 'mirror' | 'registry') =>
    serve(({ headers }, response) => {
      asked[who].push(headers.authorization ?? 'nobody');
      sendJson(response, {}, headers.authorization === undefined ? 401 : 404, { 'www-authenticate': 'Basic' });
    });
  const [mirror, registry] = [await wanting('mirror'), await wanting('registry')];
  const auths = {
    'registry.test': auth('name:pw'),
    [registry.host]: auth('registry:pw'),
    [mirror.host]: auth('mirror:pw'),
  };
  const { credentials } = await clientWith({ auths }, registry.url);
  const mirrors = [{ url: mirror.url, tags: false, forwardNs: false, credentials }];
  const { client } = clientOf(registry.url, { credentials, mirrors });

  await expect(client.getManifest(parseRepository('app'), digest, unlimited)).rejects.toMatchObject({
    code: 'MANIFEST_UNKNOWN',
  });

  const basicOf = (name: string) => `Basic ${btoa(`${name}:pw`)}`;
  expect(asked).toEqual({ mirror: ['nobody', basicOf('mirror')], registry: ['nobody', basicOf('registry')] });
});
