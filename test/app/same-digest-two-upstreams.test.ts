import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ask, open } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { type Content, randomBlob } from '../support/images.ts';
import { partialDownloads } from '../support/partial-downloads.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';

const repository = 'library/app';
const blobs = /\/blobs\//;
const mebibyte = 1024 * 1024;

interface Both {
  readonly evil: FakeRegistry;
  readonly honest: FakeRegistry;
  readonly app: RunningApp;
  readonly fromEvil: string;
  readonly fromHonest: string;
}

/** A mirror before two upstreams that are asked for the same blob. */
async function twoUpstreams(blob: Content): Promise<Both> {
  const [evil, honest] = [await startFakeRegistry(), await startFakeRegistry()];
  for (const upstream of [evil, honest]) upstream.content.addBlob(repository, blob);
  const config = {
    defaultUpstream: 'docker.io',
    upstreams: { 'docker.io': { url: honest.url }, 'evil.test': { url: evil.url } },
    download: { attemptsWithoutProgress: 1 },
  };
  // By the clock of the disk: a partial download that is a day old is dropped by the next sweep.
  const app = await startApp(config, { clock: new ManualClock(Date.now()) });
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  return { evil, honest, app, fromEvil: `${path}?ns=evil.test`, fromHonest: path };
}

/** Whole, or `cut`. */
async function bodyOf(app: RunningApp, path: string): Promise<Buffer | 'cut'> {
  return ask(app, path).then(
    ({ body }) => body,
    () => 'cut' as const,
  );
}

test('an upstream that stops in the middle of a blob does not delay clients of another upstream that has the same blob', async () => {
  const blob = randomBlob(2 * mebibyte);
  const { evil, honest, app, fromEvil, fromHonest } = await twoUpstreams(blob);
  const trickling = gate();
  evil.script({ path: blobs }, { holdBody: { afterBytes: mebibyte, until: trickling } });
  const held = await open(app, fromEvil);
  const start = await held.read(mebibyte / 2);
  expect((await ask(app, fromHonest)).body.equals(blob.bytes)).toBe(true);
  expect(honest.count('GET', blobs)).toBe(1);
  // Verified and committed by the honest one: further clients have it from the cache, also under the other upstream.
  await expect.poll(async () => (await ask(app, fromHonest)).cache).toBe('hit');
  expect(await ask(app, fromEvil)).toMatchObject({ status: 200, cache: 'hit' });
  trickling.open();
  expect(Buffer.concat([start, await held.rest()]).equals(blob.bytes)).toBe(true);
  await app.quiet();
  const metrics = await app.metrics();
  expect(metrics.sum('layerwell_cache_admitted_bytes_total', { kind: 'blob' })).toBe(blob.bytes.byteLength);
  expect(metrics.sum('layerwell_cache_bytes')).toBe(blob.bytes.byteLength);
  expect(metrics.sum('layerwell_cache_objects', { kind: 'blob' })).toBe(1);
  expect(metrics.sum('layerwell_storage_pending_bytes')).toBe(0);
  expect(metrics.sum('layerwell_cache_fills_total', { result: 'ok' })).toBe(2);
  await expect.poll(() => readdir(join(app.dataDirectory, 'incoming'))).toEqual([]);
  expect([evil.count('GET', blobs), honest.count('GET', blobs)]).toEqual([1, 1]);
});

test('wrong bytes from one upstream do not cut clients of another', async () => {
  const blob = randomBlob(2 * mebibyte);
  const { evil, honest, app, fromEvil, fromHonest } = await twoUpstreams(blob);
  const [evilEnds, honestEnds] = [gate(), gate()];
  const spoilt = { body: () => randomBlob(2 * mebibyte, 'other').bytes };
  evil.script({ path: blobs }, { ...spoilt, holdBody: { afterBytes: mebibyte, until: evilEnds } });
  honest.script({ path: blobs }, { holdBody: { afterBytes: mebibyte, until: honestEnds } });
  const deceived = bodyOf(app, fromEvil);
  await evil.arrived('GET', blobs);
  const clients = await Promise.all(Array.from({ length: 5 }, () => open(app, fromHonest)));
  evilEnds.open();
  expect(await deceived).toBe('cut');
  honestEnds.open();
  for (const client of clients) expect((await client.rest()).equals(blob.bytes)).toBe(true);
  expect(honest.count('GET', blobs)).toBe(1);
});

test('a partial download of one upstream is never resumed from another', async () => {
  const blob = randomBlob(24 * mebibyte);
  const { evil, honest, app, fromEvil, fromHonest } = await twoUpstreams(blob);
  const wrong = randomBlob(24 * mebibyte, 'other').bytes;
  evil.script({ path: blobs, times: 1 }, { body: () => wrong, cutAfterBytes: 20 * mebibyte });
  evil.script({ path: blobs }, { dropConnection: true });
  expect(await bodyOf(app, fromEvil)).toBe('cut');
  await app.quiet();
  expect((await partialDownloads(app.dataDirectory)).left).toHaveLength(1);
  await app.restart();
  expect((await ask(app, fromHonest)).body.equals(blob.bytes)).toBe(true);
  expect(honest.seen('GET', blobs).map(({ headers }) => headers.range)).toEqual([undefined]);
  await app.quiet();
  // Kept for its own upstream.
  expect((await partialDownloads(app.dataDirectory)).left).toHaveLength(1);
});

test('each upstream resumes its own partial download', async () => {
  const blob = randomBlob(24 * mebibyte);
  const { evil, honest, app, fromEvil, fromHonest } = await twoUpstreams(blob);
  for (const upstream of [evil, honest]) {
    upstream.script({ path: blobs, times: 1 }, { cutAfterBytes: 20 * mebibyte });
    upstream.script({ path: blobs, times: 10 }, { dropConnection: true });
  }
  expect(await Promise.all([bodyOf(app, fromEvil), bodyOf(app, fromHonest)])).toEqual(['cut', 'cut']);
  await app.quiet();
  expect((await partialDownloads(app.dataDirectory)).left).toHaveLength(2);
  await app.restart();
  for (const upstream of [evil, honest]) {
    upstream.clearScripts();
    upstream.forgetRequests();
  }
  expect((await ask(app, fromHonest)).body.equals(blob.bytes)).toBe(true);
  const [resumed] = honest.seen('GET', blobs);
  expect(resumed?.headers.range).toMatch(/^bytes=\d+-/);
  expect(resumed?.sentBytes).toBeLessThan(8 * mebibyte);
  expect(evil.count('GET', blobs)).toBe(0);
});

test('a size that one upstream claims is not shown to clients of another', async () => {
  const blob = randomBlob(mebibyte);
  const { evil, app, fromEvil, fromHonest } = await twoUpstreams(blob);
  await ask(app, fromHonest);
  await app.quiet();
  await rm(join(app.dataDirectory, 'blobs'), { recursive: true });
  evil.script({ path: blobs }, { contentLength: 2 * mebibyte, holdBody: { afterBytes: 500_000, until: gate() } });
  const held = await open(app, fromEvil);
  const { headers } = await ask(app, fromHonest, { method: 'HEAD' });
  expect(headers['content-length']).toBe(String(mebibyte));
  held.hangUp();
});

test('two upstreams that deliver one blob at the same time store it once', async () => {
  const blob = randomBlob(2 * mebibyte);
  const { evil, honest, app, fromEvil, fromHonest } = await twoUpstreams(blob);
  const ending = gate();
  for (const upstream of [evil, honest])
    upstream.script({ path: blobs }, { holdBody: { afterBytes: mebibyte, until: ending } });
  const both = await Promise.all([open(app, fromEvil), open(app, fromHonest)]);
  ending.open();
  for (const client of both) expect((await client.rest()).equals(blob.bytes)).toBe(true);
  await app.quiet();
  const metrics = await app.metrics();
  expect(metrics.sum('layerwell_cache_admitted_bytes_total', { kind: 'blob' })).toBe(blob.bytes.byteLength);
  expect(metrics.sum('layerwell_cache_bytes')).toBe(blob.bytes.byteLength);
  for (const path of [fromEvil, fromHonest]) expect((await ask(app, path)).cache).toBe('hit');
});
