import { expect, test } from 'vitest';
import { ociManifest } from '../../src/oci/media-types.ts';
import { imageOver, kib, layer } from '../support/bounded-store.ts';
import { gate } from '../support/gate.ts';
import { content, descriptorOf, image, type Image } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { startWithJobs } from '../support/start-jobs.ts';

const nginx = 'library/nginx';
const one = { images: ['nginx:1'] };
const name = 'docker.io/library/nginx:1';
const blobs = /\/blobs\//;

test('images that do not exist, are refused or are of no upstream are told, and the others are fetched', async () => {
  const { hub, done } = await startWithJobs({ upstream: { deny: ['secret/*'] } });
  hub.content.add(nginx, '1', image());
  const job = await done('warm', { images: ['nginx:2', 'none:1', 'secret/x', 'quay.test/x/y:1', 'nginx:1'] });
  expect(job).toMatchObject({ state: 'done', done: 5, problems: 4 });
  expect(Object(job).images.map(({ state }: { state: string }) => state)).toEqual([
    'failed',
    'failed',
    'failed',
    'failed',
    'done',
  ]);
  const reasons = Object(job).problemList.map(({ image, reason }: Record<string, string>) => [image, reason]);
  expect(Object.fromEntries(reasons)).toEqual({
    'docker.io/library/nginx:2': 'not-found',
    'docker.io/library/none:1': 'not-found',
    'docker.io/secret/x:latest': 'unauthorized',
    'quay.test/x/y:1': 'not-configured',
  });
});

test('what the mirror may not show to its clients is not fetched with its account', async () => {
  const account = { username: 'mirror', password: 'secret' };
  const registry = { auth: { kind: 'bearer', ...account, privateRepositories: ['team/secret'] } } as const;
  const credentials = [{ kind: 'basic', ...account }];
  const { hub, done } = await startWithJobs({ registry, upstream: { credentials, visibility: 'public' } });
  hub.content.add('team/secret', '1', image());
  expect(await done('warm', { images: ['team/secret:1'] })).toMatchObject({ problemList: [{ reason: 'not-found' }] });
  expect(hub.count('GET', blobs)).toBe(0);
});

test('a layer that clients fetch elsewhere is told, and does no harm', async () => {
  const { hub, done } = await startWithJobs();
  const [foreign, own] = [layer('foreign', 1000), layer('own', 1000)];
  const built = imageOver('1', own);
  const layers = [descriptorOf(own), { ...descriptorOf(foreign), urls: ['https://elsewhere.test/layer'] }];
  const json = { ...JSON.parse(built.manifest.bytes.toString()), layers };
  const manifest = content(ociManifest, Buffer.from(JSON.stringify(json)));
  hub.content.add(nginx, '1', { ...built, manifest });
  expect(await done('warm', one)).toMatchObject({
    images: [{ state: 'done', fetched: { blobs: 2 } }],
    problemList: [{ image: name, subject: foreign.digest, reason: 'foreign-layer' }],
  });
  expect(hub.count('GET', new RegExp(foreign.digest))).toBe(0);
});

test('a manifest that names too much is not passed over in silence', async () => {
  const { hub, done } = await startWithJobs();
  const many = Array.from({ length: 1001 }, (_, nth) => layer(String(nth), 8));
  const config = content('application/vnd.oci.image.config.v1+json', Buffer.from('{}'));
  const json = {
    schemaVersion: 2,
    mediaType: ociManifest,
    config: descriptorOf(config),
    layers: many.map(descriptorOf),
  };
  const manifest = content(ociManifest, Buffer.from(JSON.stringify(json)));
  hub.content.add(nginx, '1', { manifest, children: [], blobs: [] });
  expect(await done('warm', one)).toMatchObject({
    images: [{ state: 'failed' }],
    problemList: [{ reason: 'too-large' }],
  });
});

test('an upstream that refuses more pulls is told as such', async () => {
  const { hub, done } = await startWithJobs();
  hub.content.add(nginx, '1', image());
  hub.script({ path: /manifests/ }, { status: 429 });
  expect(await done('warm', one)).toMatchObject({
    images: [{ state: 'failed' }],
    problemList: [{ reason: 'rate-limited' }],
  });
});

test('the last tenth of the pulls is left to clients, and what is cached is still looked at', async () => {
  const { hub, app, done } = await startWithJobs();
  hub.content.add(nginx, '1', image());
  hub.content.add('library/other', '1', image({ name: 'other' }));
  hub.content.manifestHeaders = { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '9;w=21600' };
  await pullAll(app, nginx, '1');
  await app.quiet();
  hub.forgetRequests();
  expect(await done('warm', { images: ['nginx:1', 'other:1'] })).toMatchObject({
    images: [{ state: 'done' }, { state: 'failed', fetched: { manifests: 0 } }],
    problemList: [{ image: 'docker.io/library/other:1', reason: 'rate-limited' }],
  });
  expect(hub.count('GET')).toBe(0);
});

test('wrong bytes are told, and are not stored', async () => {
  const { hub, done } = await startWithJobs();
  const bad = layer('bad', 1000);
  hub.content.add(nginx, '1', imageOver('1', bad));
  hub.script({ path: new RegExp(bad.digest) }, { body: (honest) => Buffer.alloc(honest.length) });
  expect(await done('warm', one)).toMatchObject({
    images: [{ state: 'failed', fetched: { manifests: 1, blobs: 1 } }],
    problemList: [{ subject: bad.digest, reason: 'wrong-content' }],
  });
});

test('while the upstream is away what is stored stays, but counts as not confirmed; the rest is unreachable', async () => {
  const { hub, app, done } = await startWithJobs({ config: { freshness: { tag: '1m' } } });
  hub.content.add(nginx, '1', image());
  await done('warm', one);
  app.clock.advance(3_600_000);
  await hub.stop();
  const job = await done('warm', { images: ['nginx:1', 'other:1'] });
  expect(job).toMatchObject({ images: [{ state: 'failed', present: { blobs: 2 } }, { state: 'failed' }] });
  const reasons = Object(job).problemList.map(({ image, reason }: Record<string, string>) => [image, reason]);
  expect(Object.fromEntries(reasons)).toEqual({ [name]: 'stale', 'docker.io/library/other:1': 'unreachable' });
  await hub.start();
});

test('an upstream that falls silent does not keep a job from being cancelled', async () => {
  const { hub, begin, cancel } = await startWithJobs();
  hub.content.add(nginx, '1', image());
  hub.script({ path: /manifests/ }, { holdHeaders: gate() });
  const { body } = await begin('warm', one);
  await hub.arrived('GET', /manifests/);
  expect((await cancel(String(body['id']))).body).toMatchObject({ state: 'cancelled' });
});

/** Two layers, of which a store of 2 MiB holds one. */
function large(): Image {
  return imageOver('1', layer('1', 1500 * kib), layer('2', 1500 * kib));
}

test('images that are larger than the store are told, instead of evicting each other', async () => {
  const { hub, app, done } = await startWithJobs({ config: { storage: { maxSize: '2MiB', minFree: '0B' } } });
  hub.content.add(nginx, '1', large());
  for (let again = 0; again < 2; again += 1) {
    const job = await done('warm', one);
    expect(job).toMatchObject({ images: [{ state: 'failed' }], problemList: [{ reason: 'no-room' }] });
  }
  expect(hub.count('GET', blobs)).toBe(2);
  expect((await app.metrics()).sum('layerwell_cache_evictions_total')).toBe(0);
});

test('a store that is full of kept content is told', async () => {
  const storage = { maxSize: '2MiB', minFree: '0B', keep: ['docker.io/library/kept'] };
  const { hub, app, done } = await startWithJobs({ config: { storage } });
  hub.content.add('library/kept', '1', imageOver('kept', layer('kept', 1500 * kib)));
  hub.content.add(nginx, '1', imageOver('1', layer('1', 1000 * kib)));
  await pullAll(app, 'library/kept', '1');
  await app.quiet();
  expect(await done('warm', one)).toMatchObject({
    images: [{ state: 'failed' }],
    problemList: [{ reason: 'no-room' }],
  });
});

test('a disk that takes no more is told', async () => {
  const files = new ScriptedFiles();
  const { hub, done } = await startWithJobs({ files });
  hub.content.add(nginx, '1', imageOver('1', layer('1', 1000 * kib)));
  files.failWith = ({ operation, path }) => (operation === 'write' && path.includes('incoming') ? 'ENOSPC' : undefined);
  const job = await done('warm', one);
  expect(job).toMatchObject({ state: 'done', images: [{ state: 'failed', fetched: { blobs: 0 } }] });
  expect(Object(job).problemList.map(({ reason }: { reason: string }) => reason)).toEqual(['disk', 'disk']);
});
