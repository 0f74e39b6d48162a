import { expect, test } from 'vitest';
import { ask, caughtUp, open } from '../support/client.ts';
import { pump } from '../support/fake-answer.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { startHolding } from '../support/held-blob.ts';
import { randomBlob } from '../support/images.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const blobs = /\/blobs\//;

test('a download continues when its last client has hung up, and the next pull is a hit', async () => {
  const { upstream, app, blob, path, held: half } = await startHolding(2_000_000, { bytes: 1_000_000 });
  const only = await open(app, path);
  await only.read(1);
  only.hangUp();
  half.open();
  expect(await upstream.seen('GET', blobs)[0]?.ended).toBe('complete');
  await app.quiet();
  await upstream.stop();
  const next = await ask(app, path);
  expect(next.cache).toBe('hit');
  expect(next.body.equals(blob.bytes)).toBe(true);
});

test('it also continues when the client left before the upstream answered', async () => {
  const { upstream, app, path, held: answering } = await startHolding(300_000, 'nothing');
  const leaving = new AbortController();
  const only = fetch(`${app.url}${path}`, { signal: leaving.signal });
  await upstream.arrived('GET', blobs);
  leaving.abort();
  await expect(only).rejects.toThrow('aborted');
  answering.open();
  await expect.poll(async () => (await app.metrics()).sum('layerwell_cache_fills_total', { result: 'ok' })).toBe(1);
  expect((await ask(app, path)).cache).toBe('hit');
  expect(upstream.count('GET', blobs)).toBe(1);
});

test('a client that comes back joins the download it had left', async () => {
  const { upstream, app, blob, path, held: half } = await startHolding(2_000_000, { bytes: 1_000_000 });
  const first = await open(app, path);
  await first.read(1);
  first.hangUp();
  const again = await open(app, path);
  half.open();
  expect(again.cache).toBe('fwd=uri-miss; fwd-status=200; collapsed');
  expect((await again.rest()).equals(blob.bytes)).toBe(true);
  expect(upstream.count('GET', blobs)).toBe(1);
});

test('a download without clients gives up its slot to one with clients', async () => {
  const upstream = await startFakeRegistry();
  const [left, wanted] = [randomBlob(2_000_000, 'left'), randomBlob(300_000, 'wanted')];
  for (const blob of [left, wanted]) upstream.content.addBlob(repository, blob);
  const never = gate();
  upstream.script({ path: new RegExp(left.digest) }, { holdBody: { afterBytes: 1_000_000, until: never } });
  const app = await startApp(mirrorOf(upstream, { download: { maxConcurrent: 1 } }));
  const leaver = await open(app, `/v2/${repository}/blobs/${left.digest}`);
  await leaver.read(1);
  leaver.hangUp();
  expect((await ask(app, `/v2/${repository}/blobs/${wanted.digest}`)).body.equals(wanted.bytes)).toBe(true);
  expect(await upstream.seen('GET', new RegExp(left.digest))[0]?.ended).toBe('aborted');
});

test('only maxAbandoned downloads continue without clients: the oldest is ended', async () => {
  const upstream = await startFakeRegistry();
  const never = gate();
  upstream.script({ path: blobs }, { holdBody: { afterBytes: 1_000_000, until: never } });
  const app = await startApp(mirrorOf(upstream, { download: { maxAbandoned: 1 } }));
  const left = ['one', 'two'].map((name) => randomBlob(2_000_000, name));
  for (const blob of left) {
    upstream.content.addBlob(repository, blob);
    const leaver = await open(app, `/v2/${repository}/blobs/${blob.digest}`);
    await leaver.read(1);
    leaver.hangUp();
  }
  const [first, second] = left.map(({ digest }) => upstream.seen('GET', new RegExp(digest))[0]);
  expect(await first?.ended).toBe('aborted');
  await app.metrics();
  expect((await app.metrics()).sum('layerwell_cache_fills_in_flight')).toBe(1);
  expect(second?.sentBytes).toBe(1_000_000);
});

test('a download whose client left before it began counts as one without clients', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(2_000_000);
  upstream.content.addBlob(repository, blob);
  const [answering, flowing] = [gate(), gate()];
  upstream.script({ path: blobs }, { holdHeaders: answering, holdBody: { afterBytes: 1_000_000, until: flowing } });
  const app = await startApp(mirrorOf(upstream, { download: { maxAbandoned: 0 } }));
  const leaving = new AbortController();
  const only = fetch(`${app.url}/v2/${repository}/blobs/${blob.digest}`, { signal: leaving.signal });
  await upstream.arrived('GET', blobs);
  leaving.abort();
  await expect(only).rejects.toThrow('aborted');
  await caughtUp(app);
  answering.open();
  expect(await upstream.seen('GET', blobs)[0]?.ended).toBe('aborted');
});

test('a client that comes back while the download it had left is being ended gets the whole blob', async () => {
  const upstream = await startFakeRegistry();
  const [left, wanted] = [randomBlob(2_000_000, 'left'), randomBlob(300_000, 'wanted')];
  for (const blob of [left, wanted]) upstream.content.addBlob(repository, blob);
  const flow = pump();
  upstream.script({ path: new RegExp(left.digest), times: 1 }, { pump: flow });
  const files = new ScriptedFiles();
  const app = await startApp(mirrorOf(upstream, { download: { maxConcurrent: 1 } }), { files });
  const leaver = open(app, `/v2/${repository}/blobs/${left.digest}`);
  flow.release(1_000_000);
  await (await leaver).read(1);

  // What is being written when the download is ended is waited for.
  const [writing, disk] = [gate(), gate()];
  files.before = async ({ operation }) => {
    if (operation !== 'write') return;
    writing.open();
    await disk.opened;
  };
  flow.release(900_000);
  await writing.opened;
  (await leaver).hangUp();
  await caughtUp(app);
  const other = ask(app, `/v2/${repository}/blobs/${wanted.digest}`);
  await expect.poll(async () => (await app.metrics()).sum('layerwell_cache_fills_waiting')).toBe(1);
  const again = ask(app, `/v2/${repository}/blobs/${left.digest}`);
  await caughtUp(app);
  disk.open();

  expect((await again).body.equals(left.bytes)).toBe(true);
  expect((await other).body.equals(wanted.bytes)).toBe(true);
});
