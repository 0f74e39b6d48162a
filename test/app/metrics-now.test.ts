/** What an operator reads in /metrics while something goes on. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ask, open } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image, randomBlob } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { sendRaw } from '../support/raw-request.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf, startMirror } from '../support/start-mirror.ts';
import { blobFile } from '../support/store-on-disk.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { selfSigned } from '../unit/upstream/certificates.ts';

const repository = 'library/app';
const upstreamLabel = { upstream: 'docker.io' };

async function valueOf(app: RunningApp, name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
  return (await app.metrics()).sum(`layerwell_${name}`, labels);
}

async function textOf({ managementUrl }: Pick<RunningApp, 'managementUrl'>): Promise<string> {
  return (await ask({ url: managementUrl }, '/metrics')).body.toString();
}

test('counters whose labels are known begin at 0, before the first request', async () => {
  const upstream = await startFakeRegistry();
  const text = await textOf(await startApp(mirrorOf(upstream)));
  const zero = [
    'http_requests_total{kind="blob",method="GET",code="200",cache="hit",upstream="docker.io"}',
    'http_requests_total{kind="manifest",method="GET",code="200",cache="miss",upstream="docker.io"}',
    'http_response_bytes_total{kind="blob",cache="miss",upstream="docker.io"}',
    'http_client_aborts_total{kind="blob"}',
    'http_rejected_total{reason="requests"}',
    'upstream_throttled_total{upstream="docker.io"}',
    'upstream_response_bytes_total{upstream="docker.io",kind="blob"}',
    'cache_fills_total{upstream="docker.io",result="digest_mismatch"}',
    'cache_fills_by_kind_total{kind="manifest",result="ok"}',
    'cache_collapsed_requests_total{kind="tag"}',
    'cache_admitted_bytes_total{kind="blob"}',
    'cache_admitted_objects_total{kind="blob"}',
    'cache_admitted_objects_total{kind="manifest"}',
    'cache_corruptions_total{source="read"}',
    'cache_evictions_total{reason="lru"}',
    'cache_evicted_bytes_total{reason="lru"}',
    'draining',
    'http_requests_in_flight{kind="manifest"}',
    'storage_operation_duration_seconds_count{operation="read"}',
    'storage_errors_total{reason="io"}',
    'index_operation_duration_seconds_count{operation="borrow"}',
  ];
  const missing = zero.filter((series) => !text.includes(`\nlayerwell_${series} 0\n`));
  expect(missing).toEqual([]);
});

test('requests in progress, requests that wait, and connections are counted while they last', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(200_000);
  upstream.content.addBlob(repository, blob);
  const [headers, rest] = [gate(), gate()];
  upstream.script({ path: /\/blobs\// }, { holdHeaders: headers, holdBody: { afterBytes: 100_000, until: rest } });
  const app = await startApp(mirrorOf(upstream));
  const opening = open(app, `/v2/${repository}/blobs/${blob.digest}`);
  await upstream.arrived('GET', /\/blobs\//);

  expect(await valueOf(app, 'http_requests_in_flight', { kind: 'blob' })).toBe(1);
  expect(await valueOf(app, 'http_requests_waiting', { kind: 'blob' })).toBe(1);
  expect(await valueOf(app, 'http_connections')).toBe(1);
  expect(await valueOf(app, 'upstream_requests_in_flight', upstreamLabel)).toBe(1);
  expect(await valueOf(app, 'upstream_waiters', upstreamLabel)).toBe(1);

  headers.open();
  const opened = await opening;
  expect(await valueOf(app, 'http_requests_in_flight', { kind: 'blob' })).toBe(1);
  expect(await valueOf(app, 'http_requests_waiting', { kind: 'blob' })).toBe(0);

  rest.open();
  await opened.rest();
  await expect.poll(() => valueOf(app, 'http_requests_in_flight')).toBe(0);
  await expect.poll(() => valueOf(app, 'upstream_requests_in_flight')).toBe(0);
  expect(await valueOf(app, 'upstream_waiters')).toBe(0);
});

test('the connections to an upstream are counted, and the requests that wait for one', async () => {
  const upstream = await startFakeRegistry();
  for (const tag of ['1', '2', '3']) upstream.content.add(repository, tag, image({ name: tag }));
  const answering = gate();
  upstream.script({ path: /\/manifests\// }, { holdHeaders: answering });
  const app = await startApp({
    defaultUpstream: 'docker.io',
    upstreams: {
      'docker.io': { url: upstream.url, maxConnections: 2, visibility: 'public', publicRepositories: ['**'] },
    },
  });
  const connections = (state: string) => valueOf(app, 'upstream_connections', { ...upstreamLabel, state });
  const pending = () => valueOf(app, 'upstream_requests_pending', upstreamLabel);
  const asking = ['1', '2', '3'].map((tag) => ask(app, `/v2/${repository}/manifests/${tag}`));
  await upstream.arrived('GET', /\/manifests\//, 2);
  await expect.poll(pending).toBe(1);
  expect(await connections('busy')).toBe(2);

  answering.open();
  await Promise.all(asking);
  await expect.poll(() => connections('busy')).toBe(0);
  expect([await connections('idle'), await pending()]).toEqual([2, 0]);
});

test('an upstream is up while it answers, with the time of its last success', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image());
  const app = await startApp(mirrorOf(upstream));
  expect(await textOf(app)).not.toContain('layerwell_upstream_up{');
  await pullAll(app, repository, '1');
  const succeededAt = app.clock.now() / 1_000;
  expect(await valueOf(app, 'upstream_up', upstreamLabel)).toBe(1);
  expect(await valueOf(app, 'upstream_last_success_timestamp_seconds', upstreamLabel)).toBe(succeededAt);

  await upstream.stop();
  app.clock.advance(3_600_000);
  await ask(app, `/v2/${repository}/manifests/1`);
  expect(await valueOf(app, 'upstream_up', upstreamLabel)).toBe(0);
  expect(await valueOf(app, 'upstream_last_success_timestamp_seconds', upstreamLabel)).toBe(succeededAt);
});

test('a rate limited upstream counts its 429s, and the tag whose revalidation it refused', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image());
  const app = await startApp(mirrorOf(upstream));
  await pullAll(app, repository, '1');
  upstream.script({ path: /\/manifests\// }, { status: 429 });
  app.clock.advance(3_600_000);
  await ask(app, `/v2/${repository}/manifests/1`);
  expect(await valueOf(app, 'upstream_throttled_total', upstreamLabel)).toBeGreaterThan(0);
  expect(await valueOf(app, 'cache_revalidations_total', { result: 'rate_limited' })).toBe(1);
});

test('retries are counted with their reason, and a failure once they are used up', async () => {
  const upstream = await startFakeRegistry();
  upstream.script({ path: /\/manifests\// }, { status: 503 });
  const app = await startApp(mirrorOf(upstream));
  await ask(app, `/v2/${repository}/manifests/1`);
  const asked = upstream.count('GET', /\/manifests\//);
  expect(asked).toBeGreaterThan(1);
  expect(await valueOf(app, 'upstream_retries_total', { reason: 'unavailable' })).toBe(asked - 1);
  expect(await valueOf(app, 'upstream_failures_total', { reason: 'unavailable' })).toBe(1);
});

test('an upstream that refuses the account counts as refused', async () => {
  const upstream = await startFakeRegistry({ auth: { kind: 'basic', username: 'robot', password: 'right' } });
  upstream.content.add(repository, '1', image());
  const credentials = [{ kind: 'basic', username: 'robot', password: 'wrong' }];
  const entry = { url: upstream.url, credentials, visibility: 'service', allowAnonymous: true };
  const app = await startApp({ defaultUpstream: 'docker.io', upstreams: { 'docker.io': entry } });
  expect(await textOf(app)).toContain('layerwell_upstream_failures_total{upstream="docker.io",reason="refused"} 0\n');
  expect((await ask(app, `/v2/${repository}/manifests/1`)).status).toBe(502);
  expect(await valueOf(app, 'upstream_failures_total', { reason: 'refused' })).toBe(1);
});

test('a refused configuration is in the metrics until a usable one is read', async () => {
  const upstream = await startFakeRegistry();
  const mirror = await startMirror(mirrorOf(upstream));
  const isGood = async () => (await mirror.metrics()).sum('layerwell_config_last_reload_successful');
  const readAt = async () => (await mirror.metrics()).sum('layerwell_config_last_reload_success_timestamp_seconds');
  expect(await isGood()).toBe(1);
  const startedAt = await readAt();
  expect(startedAt).toBeGreaterThan(1_000_000_000);

  await mirror.writeConfig(mirrorOf(upstream, { nonsense: true }));
  mirror.send('SIGHUP');
  await expect.poll(isGood).toBe(0);
  expect(await readAt()).toBe(startedAt);

  await mirror.writeConfig(mirrorOf(upstream));
  mirror.send('SIGHUP');
  await expect.poll(isGood).toBe(1);
  expect(await readAt()).toBeGreaterThan(startedAt);
});

test('a mirror that drains says so', async () => {
  const upstream = await startFakeRegistry();
  const mirror = await startMirror(mirrorOf(upstream, { shutdown: { preStop: '10s' } }));
  const draining = async () => (await mirror.metrics()).sum('layerwell_draining');
  expect(await draining()).toBe(0);
  mirror.send('SIGTERM');
  await expect.poll(draining).toBe(1);
  mirror.send('SIGTERM');
});

test('the end of the certificate for clients, and of those for upstreams, is in the metrics', async () => {
  const folder = await temporaryDirectory();
  const [certFile, keyFile] = [join(folder, 'tls.crt'), join(folder, 'tls.key')];
  const { certificate, key } = await selfSigned('layerwell.test');
  await writeFile(certFile, certificate);
  await writeFile(keyFile, key);
  const listen = { host: '127.0.0.1', port: 0, tls: { certFile, keyFile } };
  const upstreams = {
    'one.test': { tls: { certFile, keyFile }, visibility: 'service', allowAnonymous: true },
    'two.test': {},
  };
  const app = await startApp({ listen, upstreams });
  const name = 'tls_cert_expiry_timestamp_seconds';
  const inOneHour = Date.now() / 1_000 + 3_600;
  expect(await valueOf(app, name, { use: 'clients', upstream: 'none' })).toBeGreaterThan(inOneHour);
  expect(await valueOf(app, name, { use: 'upstream', upstream: 'one.test' })).toBeGreaterThan(inOneHour);
  expect(await valueOf(app, name, { upstream: 'two.test' })).toBe(0);
});

test('the metrics have the size of the disk, the age of the oldest content, and damaged files', async () => {
  const upstream = await startFakeRegistry();
  const held = image({ layerBytes: 300_000 });
  upstream.content.add(repository, '1', held);
  const app = await startApp(mirrorOf(upstream));
  await expect.poll(() => valueOf(app, 'index_up')).toBe(1);
  await expect.poll(() => valueOf(app, 'index_rebuilds_total')).toBe(1); // Of the new store.
  expect(await textOf(app)).toContain('layerwell_cache_oldest_access_timestamp_seconds Nan');
  const pulledAt = app.clock.now();
  await pullAll(app, repository, '1');
  app.clock.advance(60_000);
  expect(await valueOf(app, 'cache_oldest_access_timestamp_seconds')).toBe(pulledAt / 1_000);
  const [size, free] = [await valueOf(app, 'storage_size_bytes'), await valueOf(app, 'storage_free_bytes')];
  expect(size).toBeGreaterThan(free);

  expect(await valueOf(app, 'cache_quarantined_objects')).toBe(0);
  await app.restart();
  const layer = held.blobs[1] ?? held.manifest;
  await writeFile(blobFile(app.dataDirectory, layer.digest), 'short');
  await ask(app, `/v2/${repository}/blobs/${layer.digest}`);
  expect(await valueOf(app, 'cache_quarantined_objects')).toBe(1);
});

test('content that is compared with its digest is counted: downloads, stored files, and what the scrubber reads', async () => {
  const upstream = await startFakeRegistry();
  const held = image({ layerBytes: 300_000 });
  upstream.content.add(repository, '1', held);
  const storage = { scrubEvery: 'forever' };
  const app = await startApp(mirrorOf(upstream, { storage }));
  const name = 'cache_integrity_checks_total';
  await pullAll(app, repository, '1');
  await app.quiet();
  expect(await valueOf(app, name, { source: 'download', result: 'ok' })).toBe(held.blobs.length);

  await app.restart(mirrorOf(upstream, { storage: { scrubEvery: '1d', scrubRate: '1GiB' } }));
  const files = held.blobs.length + 1;
  await expect.poll(() => valueOf(app, name, { source: 'scrub', result: 'ok' })).toBe(files);
  const layer = held.blobs[1] ?? held.manifest;
  await writeFile(blobFile(app.dataDirectory, layer.digest), 'short');
  await ask(app, `/v2/${repository}/blobs/${layer.digest}`);
  expect(await valueOf(app, name, { source: 'read', result: 'corrupt' })).toBe(1);
});

test('when the store was last verified is known after a restart', async () => {
  const upstream = await startFakeRegistry();
  const app = await startApp(mirrorOf(upstream, { storage: { scrubEvery: '1d' } }));
  const atSeconds = app.clock.now() / 1_000;
  await expect.poll(() => valueOf(app, 'scrub_last_completed_timestamp_seconds')).toBe(atSeconds);
  app.clock.advance(3_600_000);
  await app.restart(mirrorOf(upstream, { storage: { scrubEvery: 'forever' } }));
  await expect.poll(() => valueOf(app, 'scrub_last_completed_timestamp_seconds')).toBe(atSeconds);
  expect(await valueOf(app, 'scrub_round_started_timestamp_seconds')).toBe(atSeconds);
});

test('a client that sends broken HTTP is counted, and is no overload', async () => {
  const app = await startApp(mirrorOf(await startFakeRegistry()));
  await sendRaw(app.host, 'GARBAGE\r\n\r\n');
  expect(await valueOf(app, 'http_rejected_total', { reason: 'malformed' })).toBe(1);
  expect(await valueOf(app, 'http_rejected_total')).toBe(1);
});

test('a pull is counted as calls of the disk and queries of the index; a disk that fails, with the reason', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image());
  const files = new ScriptedFiles();
  const app = await startApp(mirrorOf(upstream), { files });
  await pullAll(app, repository, '1');
  for (const operation of ['open', 'read', 'write', 'sync', 'change', 'status'])
    expect(await valueOf(app, 'storage_operation_duration_seconds_count', { operation })).toBeGreaterThan(0);
  for (const operation of ['borrow', 'find', 'write'])
    expect(await valueOf(app, 'index_operation_duration_seconds_count', { operation })).toBeGreaterThan(0);
  expect(await valueOf(app, 'storage_errors_total')).toBe(0);

  upstream.content.add(repository, '2', image({ name: 'other' }));
  files.failWith = ({ operation }) => (operation === 'write' ? 'ENOSPC' : undefined);
  await pullAll(app, repository, '2');
  expect(await valueOf(app, 'storage_errors_total', { reason: 'full' })).toBeGreaterThan(0);
  expect(await valueOf(app, 'storage_errors_total')).toBe(
    await valueOf(app, 'storage_errors_total', { reason: 'full' }),
  );
});

test('the metrics name the revision that the image was built from', async () => {
  const upstream = await startFakeRegistry();
  const mirror = await startMirror(mirrorOf(upstream), { env: { LAYERWELL_REVISION: '1a2b3c' } });
  const text = await textOf(mirror);
  expect(text).toMatch(/^layerwell_build_info\{version="[^"]+",revision="1a2b3c",node_version="v[^"]+"\} 1$/m);
});
