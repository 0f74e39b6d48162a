import { expect, onTestFinished, test, vi } from 'vitest';
import type { FreeSpace } from '../../src/mirror/ports/blob-store.ts';
import { hexOf } from '../../src/oci/digest.ts';
import { ociManifest } from '../../src/oci/media-types.ts';
import { gate } from '../support/gate.ts';
import { content } from '../support/images.ts';
import { pullAll, pullBlob, pullManifest } from '../support/pull.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import type { RunningApp } from '../support/start-app.ts';
import {
  areKept,
  bytesOnDisk,
  imageOf,
  imageOver,
  kib,
  layer,
  smallThings,
  started,
  timesFetched,
} from '../support/bounded-store.ts';

test('manifests count too: however many and large they are, the store stays within its bound', async () => {
  const files = new ScriptedFiles();
  const { app, upstream } = await started({ maxSize: '1MiB' }, files);
  let most = 0;
  files.before = async ({ operation }) => {
    if (operation === 'rename') most = Math.max(most, await bytesOnDisk(app.dataDirectory));
  };
  for (const name of Array.from({ length: 20 }, (_, index) => `team/app-${index}`)) {
    const annotations = { 'org.example.padding': name.padEnd(200 * kib, '.') };
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociManifest, annotations }));
    upstream.content.add(name, '1', { manifest: content(ociManifest, bytes), children: [], blobs: [] });
    app.clock.advance(1_000);
    await pullManifest(app, name, '1');
  }
  await app.stop();
  expect(most).toBeGreaterThan(0.5 * 1024 * kib);
  expect(most).toBeLessThan(1.5 * 1024 * kib);
  expect(await bytesOnDisk(app.dataDirectory)).toBeLessThan(1024 * kib);
});

/** What is being evicted is gone at last, and what is stored is what is counted. */
async function expectCounted(app: RunningApp): Promise<void> {
  await expect
    .poll(async () => (await app.metrics()).sum('layerwell_cache_bytes') - (await bytesOnDisk(app.dataDirectory)))
    .toBe(0);
}

test('pulling three times the bound keeps the store within it, no pull fails, and frequently pulled images stay', async () => {
  const files = new ScriptedFiles();
  const mirror = await started({ maxSize: '2MiB' }, files);
  const { app, publish, pull } = mirror;
  let most = 0;
  files.before = async ({ operation }) => {
    if (operation !== 'write' && operation !== 'rename') return;
    most = Math.max(most, await bytesOnDisk(app.dataDirectory));
  };
  const hot = imageOf('hot');
  publish('hot/app', hot);
  for (let round = 0; round < 6; round += 1) {
    await pull('hot/app');
    const names = [0, 1].map((number) => `cold/app-${round}-${number}`);
    for (const name of names) publish(name, imageOf(name));
    app.clock.advance(1_000);
    await Promise.all(names.map((name) => pullAll(app, name, '1')));
    await app.quiet();
  }

  expect(hot.blobs.map(({ digest }) => timesFetched(mirror, digest))).toEqual(hot.blobs.map(() => 1));
  expect(most).toBeGreaterThan(1.5 * 1024 * kib);
  expect(most).toBeLessThan(2 * 1024 * kib + smallThings);
  const metrics = await app.metrics();
  await expectCounted(app);
  expect(metrics.sum('layerwell_cache_evicted_bytes_total', { reason: 'lru' })).toBeGreaterThan(4 * 1024 * kib);
});

test('the least recently pulled image is evicted first, and whole; a layer that another image shares stays', async () => {
  const mirror = await started({ maxSize: '1700KiB' });
  const { publish, pull, app } = mirror;
  const base = layer('base');
  const [old, recent] = [imageOver('old', base, layer('old')), imageOver('recent', base, layer('recent'))];
  const others = [1, 2].map((number) => imageOver(`other ${number}`, layer(`other ${number}`)));
  for (const [name, built] of Object.entries({ old, recent, first: others[0], second: others[1] })) {
    if (built) publish(`${name}/app`, built);
  }
  await pull('recent/app');
  await pull('old/app');
  await pull('first/app');
  // Who has its layers asks for the manifest alone.
  app.clock.advance(1_000);
  await pullManifest(app, 'recent/app', '1');
  const large = imageOver('large', layer('large', 600 * kib));
  publish('large/app', large);
  await pull('large/app');

  const [config, , own] = old.blobs;
  if (!config || !own) throw new Error('it has a config, the base and a layer of its own');
  expect(await areKept(mirror, 'old/app', [old.manifest, config, own])).toEqual([false, false, false]);
  expect(await areKept(mirror, 'recent/app', [recent.manifest, ...recent.blobs])).not.toContain(false);
  expect(await areKept(mirror, 'first/app', [others[0]?.manifest ?? base, ...(others[0]?.blobs ?? [])])).not.toContain(
    false,
  );
  expect(await areKept(mirror, 'large/app', [large.manifest, ...large.blobs])).not.toContain(false);
});

test('images that keep names are never evicted, however long ago they were pulled', async () => {
  const mirror = await started({ maxSize: '2MiB', keep: ['docker.io/kept/*'] });
  const { publish, pull, app, upstream } = mirror;
  publish('kept/app', imageOf('kept'));
  await pull('kept/app');
  for (let number = 0; number < 10; number += 1) {
    publish(`cold/app-${number}`, imageOf(`cold ${number}`));
    await pull(`cold/app-${number}`);
  }
  await upstream.stop();
  expect([...(await pullAll(app, 'kept/app', '1')).parts.values()].map(({ cache }) => cache)).not.toContain('miss');
});

test('a blob that a client is reading is not evicted, though its image is', async () => {
  const files = new ScriptedFiles();
  const mirror = await started({ maxSize: '2MiB' }, files);
  const { publish, pull, app } = mirror;
  const read = imageOf('read');
  publish('read/app', read);
  await pull('read/app');
  const [, held] = read.blobs;
  if (!held) throw new Error('it has layers');
  const reader = gate();
  const reached = gate();
  files.before = async ({ operation, path }) => {
    if (operation !== 'read' || !path.endsWith(hexOf(held.digest))) return;
    reached.open();
    await reader.opened;
  };
  const slow = pullBlob(app, 'read/app', held.digest);
  await reached.opened;
  for (let number = 0; number < 6; number += 1) {
    publish(`cold/app-${number}`, imageOf(`cold ${number}`));
    await pull(`cold/app-${number}`);
  }

  expect(await areKept(mirror, 'read/app', [read.manifest])).toEqual([false]);
  const downloads = async () => (await app.metrics()).sum('layerwell_cache_fills_total');
  const before = await downloads();
  reader.open();
  expect((await slow).cache).toBe('hit');
  await pullBlob(app, 'read/app', held.digest); // Its link went with its image, so that the upstream is asked once.
  expect(await downloads()).toBe(before);
});

test('content not pulled for unusedFor is evicted, even with free space', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  onTestFinished(() => void vi.useRealTimers());
  const mirror = await started({ unusedFor: '2d' });
  const { publish, pull, app } = mirror;
  const [unused, used] = [imageOf('unused'), imageOf('used')];
  publish('unused/app', unused);
  publish('used/app', used);
  await pull('unused/app');
  await pull('used/app');
  app.clock.advance(36 * 3_600_000);
  await pull('used/app');
  app.clock.advance(36 * 3_600_000);
  await vi.advanceTimersByTimeAsync(60_000);
  const evicted = async () => (await app.metrics()).sum('layerwell_cache_evictions_total', { reason: 'unused' });
  await vi.waitUntil(async () => (await evicted()) === 1 + unused.blobs.length, { timeout: 20_000 });
  expect(await areKept(mirror, 'used/app', [used.manifest, ...used.blobs])).not.toContain(false);
  expect((await app.metrics()).sum('layerwell_cache_objects')).toBe(1 + used.blobs.length);
});

/** A disk that is as full as the store makes it. */
class SmallDisk extends ScriptedFiles {
  readonly #capacityBytes: number;

  constructor(capacityBytes: number) {
    super();
    this.#capacityBytes = capacityBytes;
  }

  override async freeSpace(path: string): Promise<FreeSpace> {
    return { bytes: this.#capacityBytes - (await bytesOnDisk(path)) };
  }
}

test('minFree stays free on the disk, though maxSize leaves room', async () => {
  const mirror = await started({ maxSize: '1GiB', minFree: '1MiB' }, new SmallDisk(2.5 * 1024 * kib));
  const { publish, pull, app } = mirror;
  for (let number = 0; number < 6; number += 1) {
    publish(`cold/app-${number}`, imageOf(`cold ${number}`));
    await pull(`cold/app-${number}`);
    expect(await bytesOnDisk(app.dataDirectory)).toBeLessThan(1.5 * 1024 * kib + smallThings);
  }
  const last = imageOf('cold 5');
  expect(await areKept(mirror, 'cold/app-5', [last.manifest, ...last.blobs])).not.toContain(false);
});

test('blobs of unknown size do not stay beyond the bound', async () => {
  const mirror = await started({ maxSize: '1MiB' });
  const { app, upstream } = mirror;
  upstream.script({ path: /blobs/ }, { contentLength: 'absent' });
  for (const [name, size] of Object.entries({ first: 700 * kib, second: 700 * kib, huge: 3 * 1024 * kib })) {
    const blob = layer(name, size);
    upstream.content.addBlob('library/app', blob);
    app.clock.advance(1_000);
    await pullBlob(app, 'library/app', blob.digest);
    await app.quiet();
    await expect.poll(() => bytesOnDisk(app.dataDirectory), { timeout: 20_000 }).toBeLessThanOrEqual(1024 * kib);
  }
});
