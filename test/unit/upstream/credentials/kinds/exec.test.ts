import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { parseRepository, parseTag } from '../../../../../src/oci/reference.ts';
import { createExecCredentials } from '../../../../../src/upstream/credentials/kinds/exec.ts';
import { startFakeRegistry } from '../../../../support/fake-registry.ts';
import { image } from '../../../../support/images.ts';
import { temporaryDirectory } from '../../../../support/temp-directory.ts';
import { clientOf, unlimited } from '../../start-client.ts';
import { accountDeps } from '../account-deps.ts';
import { printing, writeHelper } from '../../../../support/write-helper.ts';

const account = { username: 'AWS', password: 'from-helper' };

async function start(script: string, { name = 'ghcr.io', host = 'ghcr.io', timeoutMs = 10_000 } = {}) {
  const helper = await writeHelper(await temporaryDirectory(), 'helper', script);
  const deps = accountDeps(host, { name });
  const settings = { command: helper.path, args: ['--quiet'], lifetimeMs: 60_000, timeoutMs };
  const credentials = createExecCredentials(settings, deps);
  return { ...deps, helper, credentials, secret: () => credentials.secret(unlimited) };
}

test("a helper gets the registry's name, and prints the account", async () => {
  const { helper, secret } = await start(printing('robot', 's3cr3t'));

  expect(await secret()).toEqual({ kind: 'basic', username: 'robot', password: 's3cr3t' });
  expect(await helper.asked()).toEqual(['--quiet get ghcr.io']);
});

test('helpers know Docker Hub by its oldest address', async () => {
  const { helper, secret } = await start(printing('robot', 's3cr3t'), {
    name: 'docker.io',
    host: 'registry-1.docker.io',
  });

  await secret();

  expect(await helper.asked()).toEqual(['--quiet get https://index.docker.io/v1/']);
});

test('a helper is asked for the host that will get its answer, whatever name clients use', async () => {
  const { helper, secret } = await start(printing('robot', 's3cr3t'), { name: 'docker.io', host: 'mirror.corp:8443' });

  await secret();

  expect(await helper.asked()).toEqual(['--quiet get mirror.corp:8443']);
});

test('a helper marks an identity token by its user name', async () => {
  const { secret } = await start(printing('<token>', 'refresh'));

  expect(await secret()).toEqual({ kind: 'identity-token', token: 'refresh' });
});

test('ten concurrent requests cause one run, and its answer is used for its lifetime', async () => {
  const { helper, secret, clock } = await start(printing('robot', 's3cr3t'));

  await Promise.all(Array.from({ length: 10 }, secret));
  clock.advance(59_000);
  await secret();

  expect(await helper.asked()).toHaveLength(1);
});

test('it runs again after that lifetime; while it fails, the old answer is used once more as long', async () => {
  const { helper, secret, clock, observer } = await start(printing('robot', 'first'));
  await secret();
  await helper.replaceWith('exit 1');
  clock.advance(60_000);

  expect(await secret()).toMatchObject({ password: 'first' });
  await expect.poll(() => observer.failures).toHaveLength(1);

  clock.advance(60_000);
  await expect(secret()).rejects.toMatchObject({ name: 'UpstreamError', reason: 'refused' });
  await helper.replaceWith(printing('robot', 'second'));
  clock.advance(10_000);
  expect(await secret()).toMatchObject({ password: 'second' });
});

test('a registry that the helper does not know is asked anonymously', async () => {
  const { secret } = await start('echo "credentials not found in native keychain"; exit 1');

  expect(await secret()).toBeUndefined();
});

test.each([
  { what: 'fails', script: 'echo "s3cr3t leaked"; echo "s3cr3t" >&2; exit 3' },
  { what: 'prints something else', script: 'echo "s3cr3t leaked"' },
  { what: 'prints half of it', script: `echo '{"Username":"robot"}'` },
  { what: 'prints without end', script: 'while :; do echo s3cr3ts3cr3ts3cr3ts3cr3ts3cr3ts3cr3t; done' },
  { what: 'dies', script: 'kill -9 $$' },
])('a helper that $what fails the request, and its output is not repeated', async ({ script }) => {
  const { secret } = await start(script);

  const failure: unknown = await secret().catch((error: unknown) => error);

  expect(failure).toMatchObject({ name: 'UpstreamError', reason: 'refused' });
  expect(inspect(failure, { depth: 9 })).not.toContain('s3cr3t');
});

test('a helper that does not end in time is killed', async () => {
  const { secret } = await start('exec sleep 600', { timeoutMs: 200 });

  await expect(secret()).rejects.toMatchObject({ name: 'UpstreamError', reason: 'timeout' });
});

test('a helper whose child keeps its output open ends in time as well', async () => {
  const { secret } = await start(`sleep 5 & ${printing('robot', 's3cr3t')}`, { timeoutMs: 200 });

  await expect(secret()).rejects.toMatchObject({ name: 'UpstreamError', reason: 'timeout' });
});

test('a missing helper fails the request', async () => {
  const settings = { command: '/nowhere/helper', args: [], lifetimeMs: 1, timeoutMs: 1_000 };
  const credentials = createExecCredentials(settings, accountDeps('ghcr.io'));

  await expect(credentials.secret(unlimited)).rejects.toMatchObject({ reason: 'refused' });
});

test.each(['basic', 'bearer'] as const)(
  'after a rejected answer (%s) the helper runs once more, if the answer is older than ten seconds',
  async (kind) => {
    const helper = await writeHelper(await temporaryDirectory(), 'helper', printing('AWS', 'expired'));
    const registry = await startFakeRegistry({ auth: { kind, ...account } });
    const repository = parseRepository('team/app');
    registry.content.add(repository, 'latest', image());
    const exec = { kind: 'exec', command: helper.path, args: [], lifetimeMs: 60_000, timeoutMs: 10_000 } as const;
    const { client, clock } = clientOf(registry.url, { credentials: [{ ...exec, repositories: ['**'] }] });
    const pull = () => client.headManifest(repository, parseTag('latest'), unlimited);

    await expect(pull()).rejects.toMatchObject({ reason: 'refused' });
    expect(await helper.asked()).toHaveLength(1);

    await helper.replaceWith(printing('AWS', account.password));
    clock.advance(10_000);
    expect(await pull()).toMatchObject({ size: expect.any(Number) });
    expect(await helper.asked()).toHaveLength(2);
  },
);
