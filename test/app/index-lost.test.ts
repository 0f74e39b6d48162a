import { copyFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import type { Digest } from '../../src/oci/digest.ts';
import { ask } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { freePort } from '../support/free-port.ts';
import { gate } from '../support/gate.ts';
import { holdRebuild } from '../support/held-rebuild.ts';
import { type Image, image, multiPlatformImage, randomBytes } from '../support/images.ts';
import { startProcess } from '../support/processes.ts';
import { pullAll, pullBlob, pullManifest } from '../support/pull.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf, startMirror } from '../support/start-mirror.ts';
import { storeOnDisk } from '../support/store-on-disk.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

/** Pulled whole through the repository of its name. */
const single = image({ name: 'single', layers: 2, layerBytes: 100_000 });
const multi = multiPlatformImage();

interface Cached {
  readonly app: RunningApp;
  readonly upstream: FakeRegistry;
  readonly indexFile: string;
  readonly files: ScriptedFiles;
}

/**
 * A mirror that has cached two images whole, and through two other repositories only their first manifest: what those name they may
 * borrow. Its upstream is down, its process has ended, and its tags are past their lifetime.
 */
async function cachedAndStopped(afterFirst: (cached: Cached) => Promise<void> = async () => {}): Promise<Cached> {
  const upstream = await startFakeRegistry();
  for (const repository of ['whole/single', 'half/single']) upstream.content.add(repository, '1', single);
  for (const repository of ['whole/multi', 'half/multi']) upstream.content.add(repository, '1', multi);
  const files = new ScriptedFiles();
  const app = await startApp(mirrorOf(upstream, { freshness: { tag: '1m' } }), { files });
  const cached = { app, upstream, files, indexFile: join(app.dataDirectory, 'index.sqlite') };
  await pullAll(app, 'whole/single', '1');
  await app.quiet();
  await afterFirst(cached);
  await pullAll(app, 'whole/multi', '1');
  await pullManifest(app, 'half/single', '1');
  await pullManifest(app, 'half/multi', '1');
  await app.quiet();
  await app.stop();
  await upstream.stop();
  app.clock.advance(3_600_000);
  return cached;
}

const digestsOf = ({ manifest, children, blobs }: Image): readonly Digest[] =>
  [manifest, ...children, ...blobs].map(({ digest }) => digest).toSorted();

async function expectAllServed(app: RunningApp): Promise<void> {
  for (const repository of ['whole/single', 'half/single', 'whole/multi', 'half/multi']) {
    const { parts } = await pullAll(app, repository, '1');
    expect([...parts.keys()].toSorted()).toEqual(digestsOf(repository.endsWith('single') ? single : multi));
  }
}

/** Ways to lose it: each leaves something else where the index was. */
const losses: Readonly<Record<string, (file: string) => Promise<void>>> = {
  'is gone': (file) => rm(file),
  'is empty': (file) => truncate(file, 0),
  'was cut in the middle': (file) => truncate(file, 10_000),
  'is full of garbage': (file) => writeFile(file, randomBytes(100_000, 'garbage')),
  'has garbage behind a sound header': async (file) => {
    await truncate(file, 4096);
    await writeFile(file, randomBytes(100_000, 'garbage'), { flag: 'a' });
  },
};

test.each(Object.keys(losses))(
  'everything cached is pulled at once when the index %s and the upstream is down',
  async (loss) => {
    const { app, indexFile } = await cachedAndStopped();
    await losses[loss]?.(indexFile);
    await app.restart();
    await expectAllServed(app);
  },
);

test('everything cached can be pulled at once with an old index and the upstream down', async () => {
  const { app, indexFile } = await cachedAndStopped(async ({ app: running, indexFile: file }) => {
    await running.stop();
    await copyFile(file, `${file}.old`);
    await running.restart();
  });
  await copyFile(`${indexFile}.old`, indexFile);
  await app.restart();
  await expectAllServed(app);
});

test('while the index is being rebuilt, cached content is served without delay, and links are borrowed as soon as they are read', async () => {
  const { app, files, indexFile } = await cachedAndStopped();
  await rm(indexFile);
  const held = await storeOnDisk(app.dataDirectory);
  const { records } = holdRebuild(files);
  await app.restart();

  const borrowed = [
    ...multi.children.map(({ digest }) => `half/multi/manifests/${digest}`),
    ...single.blobs.map(({ digest }) => `half/single/blobs/${digest}`),
  ];
  const heads = borrowed.map(async (path) => (await ask(app, `/v2/${path}`, { method: 'HEAD' })).status);
  for (const repository of ['whole/single', 'whole/multi']) await pullAll(app, repository, '1');
  records.open();
  expect(await Promise.all(heads)).toEqual(borrowed.map(() => 200));
  await expectAllServed(app);

  const metrics = await app.metrics();
  const sizes = [...held.blobs.values()].map(({ size }) => size);
  expect(metrics.sum('layerwell_cache_objects')).toBe(sizes.length);
  expect(metrics.sum('layerwell_cache_bytes')).toBe(sizes.reduce((sum, size) => sum + size, 0));
});

test('while the stored files are counted, what may be borrowed is served, however the upstream fails', async () => {
  const { app, files, indexFile, upstream } = await cachedAndStopped();
  await rm(indexFile);
  const [counted, failing] = [gate(), gate()];
  files.before = async ({ operation, path }) => {
    if (operation === 'entries' && path.includes('/blobs')) await counted.opened;
  };
  await upstream.start();
  upstream.script({ path: /half/ }, { status: 503, holdHeaders: failing });
  await app.restart();

  const layers = [...single.blobs, ...single.blobs]; // Each by two clients.
  const pulls = layers.map(({ digest }) => pullBlob(app, 'half/single', digest));
  const part = ask(app, `/v2/half/single/blobs/${single.blobs[0]?.digest}`, { headers: { range: 'bytes=0-9' } });
  const asked = single.blobs.map(({ digest }) => upstream.arrived('GET', new RegExp(`half.*${digest}`)));
  await Promise.all(asked);
  failing.open();
  counted.open();
  await Promise.all(pulls);
  expect((await part).status).toBe(206);
});

test('a lost index does not cause content that was pulled recently to be evicted as unused', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  onTestFinished(() => void vi.useRealTimers());
  const { app, upstream, indexFile } = await cachedAndStopped();
  const held = (await storeOnDisk(app.dataDirectory)).blobs.size;
  await app.restart();
  app.clock.advance(20 * dayMs);
  await expectAllServed(app);
  await app.stop();

  await rm(indexFile);
  app.clock.advance(20 * dayMs);
  await app.restart();
  await objectsAre(app, held);
  await sweep(app, upstream);
  await expectAllServed(app);

  app.clock.advance(31 * dayMs);
  const pulledSince = await sweep(app, upstream);
  await objectsAre(app, pulledSince);
});

const dayMs = 86_400_000;
const pollOptions = { timeout: 20_000 };

async function objectsAre(app: RunningApp, count: number): Promise<void> {
  await vi.waitUntil(async () => (await app.metrics()).sum('layerwell_cache_objects') === count, pollOptions);
}

/** Lets the sweep that is due begin. The downloads after it must wait for its end. @returns how many there were. */
async function sweep(app: RunningApp, upstream: FakeRegistry): Promise<number> {
  await vi.advanceTimersByTimeAsync(60_000);
  const small = image({ name: `swept at ${app.clock.now()}` });
  upstream.content.add('small/app', '1', small);
  await upstream.start();
  for (const { digest } of small.blobs) await pullBlob(app, 'small/app', digest);
  await app.quiet();
  await upstream.stop();
  return small.blobs.length;
}

async function expectRefused(config: MirrorConfig): Promise<void> {
  const file = join(await temporaryDirectory(), 'mirror.config.json');
  await writeFile(file, JSON.stringify(config));
  const second = startProcess(process.execPath, ['src/main.ts', 'serve', '--config', file]);
  expect(await second.exited).toEqual({ code: 1, signal: null });
  expect(second.stderr).toMatch(/^.*in use by another process.*\n$/);
  expect(second.stdout).toBe('');
}

/** As an operator is told. */
async function indexState({ managementUrl }: RunningApp): Promise<unknown> {
  return JSON.parse((await ask({ url: managementUrl }, '/readyz')).body.toString()).index;
}

/** A stopped mirror that has `kept/single`, no index, and no room for `team/other` beside it. */
async function fullAndWithoutIndex(storage: MirrorConfig = {}) {
  const upstream = await startFakeRegistry();
  upstream.content.add('kept/single', '1', single);
  upstream.content.add('team/other', '1', image({ name: 'other', layers: 2, layerBytes: 100_000 }));
  const files = new ScriptedFiles();
  const config = mirrorOf(upstream, { storage: { maxSize: '300000B', minFree: '0B', ...storage } });
  const app = await startApp(config, { files });
  await pullAll(app, 'kept/single', '1');
  await app.quiet();
  await app.stop();
  await rm(join(app.dataDirectory, 'index.sqlite'));
  return { upstream, app, files };
}

test('images that keep names stay while the index is being rebuilt and the store is full', async () => {
  const { app, upstream, files } = await fullAndWithoutIndex({ keep: ['*/kept/*'] });
  const { held, records } = holdRebuild(files);
  await app.restart();
  await held;
  await pullAll(app, 'team/other', '1');
  expect(await indexState(app)).toBe('rebuilding');
  records.open();
  await app.quiet();
  await expect.poll(() => indexState(app)).toBe('ok');
  await upstream.stop();
  const { parts } = await pullAll(app, 'kept/single', '1');
  expect([...parts.keys()].toSorted()).toEqual(digestsOf(single));
});

test('while a new index counts the stored files, nothing is stored; afterwards the store keeps its bound', async () => {
  const { app, files } = await fullAndWithoutIndex();
  const counted = gate();
  files.before = async ({ operation, path }) => {
    if (operation === 'entries' && path.includes('/blobs')) await counted.opened;
  };
  const before = [...(await storeOnDisk(app.dataDirectory)).blobs.keys()].toSorted();
  await app.restart();
  await pullAll(app, 'team/other', '1');
  await app.quiet();
  expect([...(await storeOnDisk(app.dataDirectory)).blobs.keys()].toSorted()).toEqual(before);

  counted.open();
  await expect.poll(() => indexState(app), pollOptions).toBe('ok');
  await pullAll(app, 'team/other', '1');
  await app.quiet();
  const bytes = async () => (await app.metrics()).sum('layerwell_cache_bytes');
  await expect.poll(bytes, pollOptions).toBeLessThan(250_000);
  expect((await app.metrics()).sum('layerwell_cache_evicted_bytes_total')).toBeGreaterThan(0);
});

test('a second process on the same store exits with 1 and one line that says why, and the first continues', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add('library/app', '1', single);
  const mirror = await startMirror(mirrorOf(upstream));
  const layer = single.blobs[1]!;
  const rest = gate();
  upstream.script({ path: /blobs/ }, { holdBody: { afterBytes: 1_000, until: rest } });
  const pull = pullBlob(mirror, 'library/app', layer.digest);
  await upstream.arrived('GET', /blobs/);

  const ports = { listen: { port: await freePort() }, management: { port: await freePort() } };
  const storage = { path: mirror.dataDirectory };
  const elsewhere = { path: join(await temporaryDirectory(), 'index.sqlite') };
  await expectRefused(mirrorOf(upstream, { ...ports, storage }));
  await expectRefused(mirrorOf(upstream, { ...ports, storage, index: elsewhere }));
  rest.open();
  expect((await pull).bytes).toHaveLength(layer.bytes.length);
  await vi.waitUntil(async () => (await storeOnDisk(mirror.dataDirectory)).blobs.has(layer.digest), pollOptions);
});
