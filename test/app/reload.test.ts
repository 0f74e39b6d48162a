import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ask, open } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image, randomBlob } from '../support/images.ts';
import { type StartedProcess, startProcess } from '../support/processes.ts';
import { type MirrorConfig, type RunningMirror, startMirror } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { selfSigned } from '../unit/upstream/certificates.ts';
import { serveTls } from '../unit/upstream/serve-tls.ts';

const reloaded = ({ msg }: Readonly<Record<string, unknown>>) => msg === 'configuration reloaded';
const refused = ({ msg }: Readonly<Record<string, unknown>>) =>
  msg === 'configuration refused, the old one stays in use';

function upstreams(entries: Readonly<Record<string, { readonly url: string }>>, more: MirrorConfig = {}): MirrorConfig {
  const named = Object.entries(entries).map(([name, { url }]) => [name, { url }]);
  return { defaultUpstream: 'one.test', upstreams: Object.fromEntries(named), ...more };
}

test('a new upstream is served after SIGHUP, and a running download continues over its old connection', async () => {
  const one = await startFakeRegistry();
  const two = await startFakeRegistry();
  const blob = randomBlob(2_000_000);
  one.content.addBlob('app', blob);
  two.content.add('tool', '1', image());
  const rest = gate();
  one.script({ path: /\/blobs\// }, { holdBody: { afterBytes: 1_000_000, until: rest } });
  const mirror = await startMirror(upstreams({ 'one.test': one }));
  const running = await open(mirror, `/v2/app/blobs/${blob.digest}`);
  const begun = await running.read(500_000);

  await mirror.writeConfig(upstreams({ 'one.test': one, 'two.test': two }));
  mirror.send('SIGHUP');
  await mirror.logged(reloaded);

  expect((await ask(mirror, '/v2/tool/manifests/1?ns=two.test')).status).toBe(200);
  const again = await open(mirror, `/v2/app/blobs/${blob.digest}`);
  rest.open();
  expect(Buffer.concat([begun, await running.rest()]).equals(blob.bytes)).toBe(true);
  expect((await again.rest()).equals(blob.bytes)).toBe(true);
  expect(one.count('GET', /\/blobs\//)).toBe(1);
});

test('cached content stays cached, and a removed upstream is unknown', async () => {
  const one = await startFakeRegistry();
  const two = await startFakeRegistry();
  one.content.add('app', '1', image());
  two.content.add('tool', '1', image());
  const mirror = await startMirror(upstreams({ 'one.test': one, 'two.test': two }));
  await ask(mirror, '/v2/app/manifests/1');
  await ask(mirror, '/v2/tool/manifests/1?ns=two.test');

  await mirror.writeConfig(upstreams({ 'one.test': one }));
  mirror.send('SIGHUP');
  await mirror.logged(reloaded);

  expect((await ask(mirror, '/v2/app/manifests/1')).cache).toBe('hit');
  expect((await ask(mirror, '/v2/tool/manifests/1?ns=two.test')).status).toBe(404);
});

test('an invalid configuration changes nothing, and its problems are in the log', async () => {
  const one = await startFakeRegistry();
  one.content.add('app', '1', image());
  const mirror = await startMirror(upstreams({ 'one.test': one }));

  await mirror.writeConfig(upstreams({ 'one.test': one }, { freshness: { tag: 'soon' }, nonsense: true }));
  mirror.send('SIGHUP');
  await mirror.logged(refused);

  expect((await ask(mirror, '/v2/app/manifests/1')).status).toBe(200);
  const problems = mirror.logLines().find(refused)?.['problems'];
  expect(String(problems)).toContain('freshness.tag');
  expect(String(problems)).toContain('nonsense');
});

/** What `/readyz` says of the configuration. */
async function configOf({ managementUrl }: RunningMirror): Promise<unknown> {
  const body: unknown = await (await fetch(`${managementUrl}/readyz`)).json();
  return body && typeof body === 'object' && 'config' in body ? body.config : undefined;
}

function awaitReload({ configFile, managementUrl }: RunningMirror): StartedProcess {
  const { host } = new URL(managementUrl);
  return startProcess(process.execPath, ['src/main.ts', 'await-reload', '-c', configFile, '-a', host, '-w', '1m']);
}

test('the hash in readyz tells which file is in use and which was refused, and await-reload waits for it', async () => {
  const one = await startFakeRegistry();
  const mirror = await startMirror(upstreams({ 'one.test': one }));
  const started = await configOf(mirror);
  expect(started).toEqual({ sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });

  await mirror.writeConfig(upstreams({ 'one.test': one }, { freshness: { tag: '1h' } }));
  const waiting = awaitReload(mirror);
  mirror.send('SIGHUP');
  expect(await waiting.exited).toEqual({ code: 0, signal: null });
  expect(waiting.stdout).toMatch(/^127\.0\.0\.1:\d+: uses the configuration\n$/);
  expect(await configOf(mirror)).not.toEqual(started);

  await mirror.writeConfig(upstreams({ 'one.test': one }, { nonsense: true }));
  mirror.send('SIGHUP');
  await mirror.logged(refused);
  expect(await configOf(mirror)).toMatchObject({ refused: expect.stringMatching(/^[0-9a-f]{64}$/) });
  expect((await awaitReload(mirror).exited).code).toBe(1);
});

test('keys that need a restart are named in the log, and keep their old values', async () => {
  const one = await startFakeRegistry();
  one.content.add('app', '1', image());
  const mirror = await startMirror(upstreams({ 'one.test': one }));

  await mirror.writeConfig(
    upstreams({ 'one.test': one }, { storage: { path: mirror.dataDirectory, maxSize: '1GiB' } }),
  );
  mirror.send('SIGHUP');
  await mirror.logged(reloaded);

  expect(mirror.logLines().find(reloaded)?.['needRestart']).toEqual(['storage']);
  expect(await configOf(mirror)).toMatchObject({ needRestart: ['storage'] });
  expect((await mirror.metrics()).sum('layerwell_cache_capacity_bytes')).toBe(50 * 1024 ** 3);
});

test('an upstream pattern that admits any host is warned about at start and on reload', async () => {
  const one = await startFakeRegistry();
  const anyHost = { ...upstreams({ 'one.test': one }), upstreams: { 'one.test': { url: one.url }, '**': {} } };
  const warned = ({ msg, warning }: Readonly<Record<string, unknown>>) =>
    msg === 'configuration' && String(warning).startsWith('upstreams["**"]: matches every host');
  const mirror = await startMirror(anyHost);
  expect(mirror.logLines().filter(warned)).toHaveLength(1);

  mirror.send('SIGHUP');
  await mirror.logged(reloaded);

  expect(mirror.logLines().filter(warned)).toHaveLength(2);
});

test('a renewed caFile of an upstream is used without SIGHUP', async () => {
  const [former, renewed] = [await selfSigned('former'), await selfSigned('renewed')];
  const url = await serveTls({ cert: renewed.certificate, key: renewed.key });
  const caFile = join(await temporaryDirectory(), 'ca.pem');
  await writeFile(caFile, former.certificate);
  const mirror = await startMirror({ upstreams: { 'one.test': { url, tls: { caFile } } } });
  expect((await ask(mirror, '/v2/app/manifests/1')).status).toBe(502);

  await writeFile(caFile, renewed.certificate);
  await mirror.logged(reloaded);

  expect((await ask(mirror, '/v2/app/manifests/1')).status).toBe(200);
});
