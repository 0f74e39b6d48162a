import { expect, test } from 'vitest';
import { ask, isComplete, open } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { type Content, randomBlob } from '../support/images.ts';
import { pullBlob } from '../support/pull.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';
import { storeOnDisk } from '../support/store-on-disk.ts';

const repository = 'library/app';
const blobs = /\/blobs\//;
const mebibyte = 1024 * 1024;
const small = { storage: { maxSize: '1MiB' } };

const pathOf = ({ digest }: Content) => `/v2/${repository}/blobs/${digest}`;

async function startWith(bytes: number, config: MirrorConfig = small) {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(bytes);
  upstream.content.addBlob(repository, blob);
  const app = await startApp(mirrorOf(upstream, config));
  return { upstream, app, blob, path: pathOf(blob) };
}

/** A cache that holds so many blobs of 1 MiB. */
async function fill(app: RunningApp, upstream: Awaited<ReturnType<typeof startFakeRegistry>>, count: number) {
  const kept = Array.from({ length: count }, (_, place) => randomBlob(mebibyte, `kept ${place}`));
  for (const blob of kept) {
    upstream.content.addBlob(repository, blob);
    await pullBlob(app, repository, blob.digest);
  }
  await app.quiet();
  return kept;
}

test('parts of a blob that does not fit cause little more upstream traffic than the parts', async () => {
  const { upstream, app, blob, path } = await startWith(64 * mebibyte);
  const parts = Array.from({ length: 16 }, (_, place) => place * 4 * mebibyte);
  for (const start of parts) {
    const answer = await ask(app, path, { headers: { range: `bytes=${start}-${start + mebibyte - 1}` } });
    expect(answer.status).toBe(206);
    expect(answer.headers['content-range']).toBe(`bytes ${start}-${start + mebibyte - 1}/${blob.bytes.length}`);
    expect(answer.body.equals(blob.bytes.subarray(start, start + mebibyte))).toBe(true);
  }
  const sent = upstream.requests.reduce((sum, { sentBytes }) => sum + sentBytes, 0);
  expect(sent).toBeLessThanOrEqual(1.1 * 16 * mebibyte);
});

test('many clients of a blob that does not fit cause one download', async () => {
  const { upstream, app, blob, path } = await startWith(4 * mebibyte);
  const answers = await Promise.all(Array.from({ length: 20 }, () => ask(app, path)));
  for (const { body } of answers) expect(body.equals(blob.bytes)).toBe(true);
  expect(upstream.count('GET', blobs)).toBe(1);
});

test('many clients of one part of a blob that does not fit cause one request for that part', async () => {
  const { upstream, app, blob, path } = await startWith(64 * mebibyte);
  const range = { headers: { range: 'bytes=30000000-30999999' } };
  const answers = await Promise.all(Array.from({ length: 60 }, () => ask(app, path, range)));
  for (const { body } of answers) expect(body.equals(blob.bytes.subarray(30_000_000, 31_000_000))).toBe(true);
  expect(upstream.seen('GET', blobs).map(({ headers }) => headers.range)).toEqual(['bytes=30000000-30999999']);
});

test('a slow client of a blob that does not fit delays no other, and gets all of it', async () => {
  const { upstream, app, blob, path } = await startWith(24_000_000);
  const slow = await open(app, path);
  slow.pause();
  expect((await ask(app, path)).body.equals(blob.bytes)).toBe(true);
  expect((await slow.rest()).equals(blob.bytes)).toBe(true);
  const ranges = upstream.seen('GET', blobs).map(({ headers }) => headers.range);
  expect(ranges).toHaveLength(2);
  expect(ranges[1]).toMatch(/^bytes=[1-9]\d*-$/);
});

test('wrong bytes of a blob that does not fit never complete at a client, however it asks for the whole blob', async () => {
  const { upstream, app, blob, path } = await startWith(12 * mebibyte);
  upstream.script({ path: blobs }, { body: (honest) => Buffer.from(honest).fill(1, honest.length - 1) });
  const slow = await open(app, path);
  slow.pause();
  expect(await isComplete(app, path)).toBe(false);
  await expect(slow.rest()).rejects.toThrow('cut');
  const range = { headers: { range: `bytes=0-${blob.bytes.length - 1}` } };
  await expect(ask(app, path, range)).rejects.toThrow('cut');
});

test('clients that do not read block no connection that other repositories of their upstream need', async () => {
  const upstream = await startFakeRegistry();
  const [one, two, other] = [randomBlob(24_000_000, 'one'), randomBlob(24_000_000, 'two'), randomBlob(1_000, 'other')];
  for (const blob of [one, two]) upstream.content.addBlob(repository, blob);
  upstream.content.addBlob('library/other', other);
  const upstreams = { 'docker.io': { url: upstream.url, maxConnections: 2 } };
  const app = await startApp({ defaultUpstream: 'docker.io', upstreams, ...small });
  const slow = [await open(app, pathOf(one)), await open(app, pathOf(two))];
  for (const client of slow) client.pause();
  const answer = await ask(app, `/v2/library/other/blobs/${other.digest}`);
  expect(answer.body.equals(other.bytes)).toBe(true);
  const read = await Promise.all(slow.map((client) => client.rest()));
  expect(read.map((bytes, place) => bytes.equals([one, two][place]?.bytes ?? Buffer.of()))).toEqual([true, true]);
});

test('a length that is only claimed evicts nothing', async () => {
  const upstream = await startFakeRegistry();
  const app = await startApp(mirrorOf(upstream, { storage: { maxSize: '12MiB' } }));
  const kept = await fill(app, upstream, 8);
  const claimed = randomBlob(3, 'claimed');
  upstream.content.addBlob(repository, claimed);
  upstream.script(
    { path: new RegExp(claimed.digest) },
    { contentLength: 8 * mebibyte, holdBody: { afterBytes: 3, until: gate() } },
  );
  const waiting = await open(app, pathOf(claimed));
  expect((await app.metrics()).sum('layerwell_cache_evictions_total')).toBe(0);
  waiting.hangUp();
  for (const { digest } of kept) expect((await ask(app, `/v2/${repository}/blobs/${digest}`)).cache).toBe('hit');
});

test('a blob larger than the store evicts nothing', async () => {
  const upstream = await startFakeRegistry();
  const app = await startApp(mirrorOf(upstream, { storage: { maxSize: '5MiB' } }));
  await fill(app, upstream, 4);
  const large = randomBlob(6 * mebibyte, 'large');
  upstream.content.addBlob(repository, large);
  expect((await ask(app, pathOf(large))).body.equals(large.bytes)).toBe(true);
  expect((await app.metrics()).sum('layerwell_cache_evictions_total')).toBe(0);
});

test('a blob without a length stays within maxSize: beyond it, all clients are served from one request, without storing', async () => {
  const { upstream, app, blob, path } = await startWith(12 * mebibyte, { storage: { maxSize: '4MiB' } });
  upstream.script({ path: blobs }, { contentLength: 'absent' });
  const answers = await Promise.all(Array.from({ length: 5 }, () => ask(app, path)));
  for (const { body } of answers) expect(body.equals(blob.bytes)).toBe(true);
  await app.quiet();
  const metrics = await app.metrics();
  expect(metrics.sum('layerwell_cache_fills_total', { result: 'no_room' })).toBe(1);
  expect(upstream.count('GET', blobs)).toBeLessThanOrEqual(2);
  expect((await storeOnDisk(app.dataDirectory)).blobs.size).toBe(0);
});

test('a blob without a length that filled the store is not stored again at once', async () => {
  const { upstream, app, blob, path } = await startWith(12 * mebibyte, { storage: { maxSize: '4MiB' } });
  upstream.script({ path: blobs }, { contentLength: 'absent' });
  await ask(app, path);
  await app.quiet();
  const kept = await fill(app, upstream, 3);
  expect((await ask(app, path)).body.equals(blob.bytes)).toBe(true);
  for (const { digest } of kept) expect((await ask(app, `/v2/${repository}/blobs/${digest}`)).cache).toBe('hit');
});
