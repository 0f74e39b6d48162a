import { expect, onTestFinished, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { ask, caughtUp, open } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { startHolding } from '../support/held-blob.ts';
import { image, randomBlob } from '../support/images.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { startAppInMemory } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const blobs = /\/blobs\//;
const manifests = /\/manifests\//;

test('fifty clients that ask for one blob at once cause one download, and each gets all of it', async () => {
  const { upstream, app, blob, path, held: half } = await startHolding(2_000_000, { bytes: 1_000_000 });
  const clients = await Promise.all(Array.from({ length: 50 }, () => open(app, path)));
  // Every one of them reads before the blob is whole.
  const starts = await Promise.all(clients.map((client) => client.read(500_000)));
  expect(upstream.seen('GET', blobs)[0]?.sentBytes).toBe(1_000_000);
  half.open();
  const ends = await Promise.all(clients.map((client) => client.rest()));
  const digests = ends.map((end, index) => digestOf(Buffer.concat([starts[index] ?? Buffer.alloc(0), end])));
  expect(new Set(digests)).toEqual(new Set([blob.digest]));
  expect(upstream.count('GET', blobs)).toBe(1);
  expect(new Set(clients.map(({ headers }) => headers['content-length']))).toEqual(new Set(['2000000']));
  const words = clients.map(({ cache }) => cache);
  expect(words.filter((word) => word.endsWith('stored'))).toHaveLength(1);
  expect(words.filter((word) => word.endsWith('collapsed'))).toHaveLength(49);
  const metrics = await app.metrics();
  expect(metrics.sum('layerwell_cache_collapsed_requests_total', { kind: 'blob' })).toBe(49);
});

test('clients get the headers as soon as the upstream has sent its own, before the first byte of the body', async () => {
  const { app, blob, path, held: flowing } = await startHolding(2_000_000, { bytes: 0 });
  const whole = await open(app, path);
  const part = await open(app, path, { headers: { range: 'bytes=1000-1999' } });
  expect([whole.status, part.status]).toEqual([200, 206]);
  flowing.open();
  expect((await whole.rest()).equals(blob.bytes)).toBe(true);
  expect((await part.rest()).equals(blob.bytes.subarray(1000, 2000))).toBe(true);
});

test('clients that ask before the upstream has answered wait for the same answer', async () => {
  const { upstream, app, blob, path, held: answering } = await startHolding(100_000, 'nothing');
  const first = ask(app, path);
  await upstream.arrived('GET', blobs);
  const others = Array.from({ length: 9 }, () => ask(app, path));
  await caughtUp(app);
  answering.open();
  for (const { body } of await Promise.all([first, ...others])) expect(body.equals(blob.bytes)).toBe(true);
  expect(upstream.count('GET', blobs)).toBe(1);
});

test('an upstream that does not answer does not delay the same blob from another upstream', async () => {
  const [silent, well] = [await startFakeRegistry(), await startFakeRegistry()];
  const blob = randomBlob(100_000);
  for (const upstream of [silent, well]) upstream.content.addBlob(repository, blob);
  const answering = gate();
  silent.script({ path: blobs }, { holdHeaders: answering });
  const app = await startAppInMemory({
    defaultUpstream: 'silent.test',
    upstreams: { 'silent.test': { url: silent.url }, 'well.test': { url: well.url } },
  });
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  const waiting = ask(app, path);
  await silent.arrived('GET', blobs);
  const others = await Promise.all(Array.from({ length: 20 }, () => ask(app, `${path}?ns=well.test`)));
  for (const { body } of others) expect(body.equals(blob.bytes)).toBe(true);
  expect(well.count('GET', blobs)).toBe(1);
  await app.quiet();
  expect((await ask(app, `${path}?ns=well.test`)).cache).toBe('hit');
  answering.open();
  expect((await waiting).body.equals(blob.bytes)).toBe(true);
  await app.quiet();
  expect((await ask(app, path)).cache).toBe('hit');
  expect([silent.count('GET', blobs), well.count('GET', blobs)]).toEqual([1, 1]);
});

test('a HEAD does not wait for a download that has not started, and takes the size from one that has', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(2_000_000);
  upstream.content.addBlob(repository, blob);
  const [answering, half] = [gate(), gate()];
  upstream.script({ method: 'GET' }, { holdHeaders: answering, holdBody: { afterBytes: 1_000_000, until: half } });
  const app = await startAppInMemory(mirrorOf(upstream));
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  const head = () => ask(app, path, { method: 'HEAD' });
  expect((await head()).status).toBe(200);
  const pull = open(app, path);
  await upstream.arrived('GET', blobs);
  expect(await head()).toMatchObject({ status: 200, headers: { 'content-length': '2000000' } });
  answering.open();
  const pulled = await pull;
  expect(await head()).toMatchObject({ cache: 'hit', headers: { 'content-length': '2000000' } });
  half.open();
  await pulled.rest();
  expect(upstream.requests.map(({ method }) => method)).toEqual(['HEAD', 'GET', 'HEAD']);
});

test('all clients that wait for one request get the same 404, and the upstream is not asked again for a while', async () => {
  const upstream = await startFakeRegistry();
  const absent = randomBlob(10).digest;
  upstream.content.addBlob(repository, randomBlob(20));
  const answering = gate();
  upstream.script({ path: blobs }, { holdHeaders: answering });
  const app = await startAppInMemory(mirrorOf(upstream));
  const first = ask(app, `/v2/${repository}/blobs/${absent}`);
  await upstream.arrived('GET', blobs);
  const others = Array.from({ length: 9 }, () => ask(app, `/v2/${repository}/blobs/${absent}`));
  await caughtUp(app);
  answering.open();
  for (const { status } of await Promise.all([first, ...others])) expect(status).toBe(404);
  expect((await ask(app, `/v2/${repository}/blobs/${absent}`)).status).toBe(404);
  expect(upstream.count('GET', blobs)).toBe(1);
});

test.each([
  { what: 'an unknown tag', reference: '1' },
  { what: 'a digest', reference: image().manifest.digest },
])('twenty clients that ask for $what at once cause one request', async ({ reference }) => {
  const upstream = await startFakeRegistry();
  const held = image();
  upstream.content.add(repository, '1', held);
  const answering = gate();
  upstream.script({ path: manifests }, { holdHeaders: answering });
  const app = await startAppInMemory(mirrorOf(upstream));
  const first = ask(app, `/v2/${repository}/manifests/${reference}`);
  await upstream.arrived('GET', manifests);
  const others = Array.from({ length: 19 }, () => ask(app, `/v2/${repository}/manifests/${reference}`));
  await caughtUp(app);
  answering.open();
  for (const { status, body } of await Promise.all([first, ...others])) {
    expect(status).toBe(200);
    expect(body.equals(held.manifest.bytes)).toBe(true);
  }
  expect(upstream.count()).toBe(1);
});

test.each([
  { what: 'an unknown tag', path: 'manifests/1' },
  { what: 'a manifest by digest', path: `manifests/${image().manifest.digest}` },
  { what: 'a blob', path: `blobs/${image().blobs[0]?.digest}` },
])('twenty clients that ask with HEAD for $what at once cause one HEAD', async ({ path }) => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image());
  const answering = gate();
  upstream.script({ method: 'HEAD' }, { holdHeaders: answering });
  const app = await startAppInMemory(mirrorOf(upstream));
  const head = () => ask(app, `/v2/${repository}/${path}`, { method: 'HEAD' });
  const first = head();
  await upstream.arrived('HEAD', /./);
  const others = Array.from({ length: 19 }, head);
  await caughtUp(app);
  answering.open();
  for (const { status } of await Promise.all([first, ...others])) expect(status).toBe(200);
  expect(upstream.requests.map(({ method }) => method)).toEqual(['HEAD']);
});

test.each([
  { path: 'manifests/1' },
  { path: `manifests/${image().manifest.digest}` },
  { path: `blobs/${image().blobs[1]?.digest}` },
  { path: 'tags/list' },
  { path: `referrers/${image().manifest.digest}` },
])(
  'a request that still reads a slow disk when the answer arrives does not cause a second upstream request: $path',
  async ({ path }) => {
    const upstream = await startFakeRegistry();
    upstream.content.add(repository, '1', image());
    const [answering, looking, disk] = [gate(), gate(), gate()];
    upstream.script({ times: 1 }, { holdHeaders: answering });
    const files = new ScriptedFiles();
    const app = await startAppInMemory(mirrorOf(upstream), { files });
    const first = ask(app, `/v2/${repository}/${path}`);
    await upstream.arrived('GET', /./);
    files.before = async (call) => {
      if (call.operation !== 'open' || !/repositories.*json$/.test(call.path)) return;
      looking.open();
      await disk.opened;
    };
    const second = ask(app, `/v2/${repository}/${path}`);
    await looking.opened;
    answering.open();
    const { status, body } = await first;
    await app.quiet();
    disk.open();
    expect(await second).toMatchObject({ status, body });
    expect(upstream.count()).toBe(1);
  },
);

test('a client that keeps up with a download is served from memory: except for small pieces the file is not read back', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(1_900_000);
  upstream.content.addBlob(repository, blob);
  const files = new ScriptedFiles();
  const app = await startAppInMemory(mirrorOf(upstream), { files });
  const synced = gate();
  onTestFinished(() => synced.open());
  files.before = async ({ operation }) => (operation === 'sync' ? synced.opened : undefined);
  expect((await ask(app, `/v2/${repository}/blobs/${blob.digest}`)).body.equals(blob.bytes)).toBe(true);
  const reads = files.calls.filter(({ operation, path }) => operation === 'read' && path.includes('incoming'));
  // The largest buffers would take four.
  expect(reads.length).toBeLessThan(4);
});
