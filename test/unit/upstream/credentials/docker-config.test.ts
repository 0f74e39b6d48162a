import { rename, symlink, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { createDockerConfigCredentials } from '../../../../src/upstream/credentials/docker-config.ts';
import { parseDockerConfig, secretFor } from '../../../../src/upstream/credentials/docker-config-file.ts';
import { startFakeRegistry } from '../../../support/fake-registry.ts';
import { image } from '../../../support/images.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { thisTest } from '../../../support/owner.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';
import { RecordingObserver } from '../recording-observer.ts';
import { clientOf, patiently } from '../start-client.ts';
import { printing, writeHelper } from './write-helper.ts';

const auth = (pair: string) => ({ auth: Buffer.from(pair).toString('base64') });

async function start(config: unknown, name = 'ghcr.io') {
  const directory = await temporaryDirectory();
  const configFile = join(directory, 'config.json');
  const write = (next: unknown) => writeFile(configFile, typeof next === 'string' ? next : JSON.stringify(next));
  await write(config);
  const registry = { name, url: new URL(`https://${name}`) };
  const deps = { account: 'docker-config-1', registry, clock: new ManualClock(), observer: new RecordingObserver() };
  const credentials = createDockerConfigCredentials({ configFile }, deps);
  return { directory, configFile, write, credentials, secret: () => credentials.secret(patiently) };
}

describe('which entry is meant', () => {
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
  ])('for $server it is $expected', ({ server, expected }) => {
    expect(secretFor(config, server)).toEqual(expected);
  });

  test.each(['', 'not JSON: s3cr3t', '[]', 'null'])('%j is no such file, and the error does not quote it', (text) => {
    expect(() => parseDockerConfig(text)).toThrowError(/^it is not a JSON object$/);
  });

  test('docker.io is meant by an entry under that name as well', () => {
    const config = parseDockerConfig(JSON.stringify({ auths: { 'docker.io': auth('hub:pw') } }));

    expect(secretFor(config, 'https://index.docker.io/v1/')).toEqual(basic('hub', 'pw'));
  });
});

test('a file that is written again holds from then on', async () => {
  const { secret, write } = await start({ auths: { 'ghcr.io': auth('robot:old') } });
  expect(await secret()).toMatchObject({ password: 'old' });

  await write({ auths: { 'ghcr.io': auth('robot:newer') } });

  expect(await secret()).toMatchObject({ password: 'newer' });
});

test('a secret mounted by Kubernetes, which changes where a link leads, holds from then on', async () => {
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
])('a file that $what is trouble that does not tell what is in it', async ({ path, text }) => {
  const { configFile } = await start(text);
  const registry = { name: 'ghcr.io', url: new URL('https://ghcr.io') };
  const deps = { account: 'a', registry, clock: new ManualClock(), observer: new RecordingObserver() };
  const credentials = createDockerConfigCredentials({ configFile: path ?? configFile }, deps);

  const failure: unknown = await credentials.secret(patiently).catch((error: unknown) => error);

  expect(failure).toMatchObject({ name: 'UpstreamError', trouble: 'refused' });
  expect(String(failure instanceof Error && failure.cause)).not.toContain('s3cr3t');
});

describe('helpers', () => {
  async function withHelpers(config: object, name?: string) {
    const started = await start(config, name);
    vi.stubEnv('PATH', `${started.directory}${delimiter}${process.env['PATH'] ?? ''}`);
    thisTest(async () => void vi.unstubAllEnvs());
    const own = await writeHelper(started.directory, 'docker-credential-own', printing('own', 'pw'));
    const store = await writeHelper(started.directory, 'docker-credential-store', printing('store', 'pw'));
    return { ...started, own, store };
  }
  const config = { credHelpers: { 'ghcr.io': 'own' }, credsStore: 'store', auths: { 'ghcr.io': auth('file:pw') } };

  test("a registry's own helper beats the store, and the store the file", async () => {
    expect(await (await withHelpers(config)).secret()).toMatchObject({ username: 'own' });
    expect(await (await withHelpers({ ...config, credHelpers: {} })).secret()).toMatchObject({ username: 'store' });
  });

  test('what the store does not know is looked up in the file', async () => {
    const { secret, store } = await withHelpers({ ...config, credHelpers: {} });
    await store.become('echo "credentials not found in native keychain"; exit 1');

    expect(await secret()).toMatchObject({ username: 'file' });
  });

  test('a helper is not asked at every request', async () => {
    const { secret, own } = await withHelpers(config);

    await Promise.all(Array.from({ length: 10 }, secret));
    await secret();

    expect(await own.asked()).toEqual(['get ghcr.io']);
  });

  test('a helper whose name leads elsewhere is none', async () => {
    const { secret } = await withHelpers({ ...config, credsStore: '../../bin/sh', credHelpers: { 'ghcr.io': 'a b' } });

    expect(await secret()).toMatchObject({ username: 'file' });
  });
});

test('a pull with the account of a Docker configuration goes on when the file rotates', async () => {
  const account = { username: 'robot', password: 'new' };
  const registry = await startFakeRegistry({ auth: { kind: 'bearer', ...account } });
  const repository = parseRepository('team/app');
  registry.content.add(repository, 'latest', image());
  const { configFile, write } = await start({ auths: { 'registry.test': auth('robot:old') } });
  const credentials = [{ kind: 'docker-config', repositories: ['**'], configFile }] as const;
  const { client } = clientOf(registry.url, { credentials });
  const pull = () => client.headManifest(repository, parseTag('latest'), patiently);

  await expect(pull()).rejects.toMatchObject({ trouble: 'refused' });
  expect(registry.count('GET', /^\/token$/)).toBe(1);
  await write({ auths: { 'registry.test': auth('robot:new') } });

  expect(await pull()).toMatchObject({ size: expect.any(Number) });
});
