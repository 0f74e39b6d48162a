import { expect, onTestFinished, test } from 'vitest';
import { ask, caughtUp, open } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { pump } from '../support/fake-answer.ts';
import { gate } from '../support/gate.ts';
import { type Content, image, randomBlob } from '../support/images.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';

const repository = 'library/app';
const blobs = /\/blobs\//;
/** Longer than a download may stay below the minimum rate before it counts as slow. */
const slowAfterMs = 3_001;

const pathOf = ({ digest }: Content, upstream: string) => `/v2/${repository}/blobs/${digest}?ns=${upstream}`;

async function registryWith(...held: readonly Content[]): Promise<FakeRegistry> {
  const registry = await startFakeRegistry();
  for (const blob of held) registry.content.addBlob(repository, blob);
  return registry;
}

/** A mirror of a hostile upstream and an honest one. */
async function mirrorBefore(bad: FakeRegistry, good: FakeRegistry, download: object = {}): Promise<RunningApp> {
  return startApp({
    defaultUpstream: 'good.test',
    upstreams: { 'good.test': { url: good.url }, 'bad.test': { url: bad.url, maxConnections: 512 } },
    download,
  });
}

function manyBlobs(count: number, bytes: number): readonly Content[] {
  return Array.from({ length: count }, (_, index) => randomBlob(bytes, `blob ${index}`));
}

/** Clients that go away with the test. */
function pullers() {
  const leaving = new AbortController();
  onTestFinished(() => leaving.abort());
  return {
    pull: (app: RunningApp, path: string) => {
      const answer = fetch(`${app.url}${path}`, { signal: leaving.signal });
      answer.catch(() => {});
      return answer;
    },
    leave: () => leaving.abort(),
  };
}

/** Resolves when running downloads have written so many bytes together. */
async function received(app: RunningApp, bytes: number): Promise<void> {
  await expect.poll(async () => (await app.metrics()).sum('layerwell_storage_pending_bytes')).toBe(bytes);
}

test('64 requests to an upstream that never answers do not delay the blob of another upstream', async () => {
  const [silentBlobs, wanted] = [manyBlobs(64, 100), randomBlob(300_000, 'wanted')];
  const [silent, good] = [await registryWith(...silentBlobs), await registryWith(wanted)];
  silent.script({ path: blobs }, { holdHeaders: gate() });
  const app = await mirrorBefore(silent, good);
  const { pull } = pullers();
  for (const blob of silentBlobs) void pull(app, pathOf(blob, 'bad.test'));
  await silent.arrived('GET', blobs, 40);
  // None of them ends before the test does: if they held its slot, this would be a 504.
  expect((await ask(app, pathOf(wanted, 'good.test'))).body.equals(wanted.bytes)).toBe(true);
});

test('64 blobs that trickle block neither another blob of the same upstream nor one of another', async () => {
  const trickling = manyBlobs(64, 100_000);
  const [same, other] = [randomBlob(300_000, 'same'), randomBlob(300_000, 'other')];
  const [bad, good] = [await registryWith(...trickling, same), await registryWith(other)];
  for (const { digest } of trickling) {
    const trickle = pump();
    trickle.release(1);
    bad.script({ path: new RegExp(digest) }, { pump: trickle });
  }
  const app = await mirrorBefore(bad, good);
  const { pull } = pullers();
  const held = trickling.map((blob) => pull(app, pathOf(blob, 'bad.test')));
  await Promise.all(held.slice(0, 40));
  expect((await ask(app, pathOf(other, 'good.test'))).body.equals(other.bytes)).toBe(true);
  const wanted = ask(app, pathOf(same, 'bad.test'));
  await caughtUp(app);
  app.clock.advance(slowAfterMs);
  expect((await wanted).body.equals(same.bytes)).toBe(true);
  // They all continue.
  expect((await app.metrics()).sum('layerwell_cache_fills_total', { upstream: 'bad.test', result: 'aborted' })).toBe(0);
  await Promise.all(held);
});

test('only a limited number of slow downloads continue without a slot: then the slowest is cut, and the log says why', async () => {
  const sentBytes = [1, 50_000, 2_000];
  const [slow, wanted] = [manyBlobs(3, 200_000), randomBlob(300_000, 'wanted')];
  const bad = await registryWith(...slow, wanted);
  for (const [index, { digest }] of slow.entries()) {
    const trickle = pump();
    trickle.release(sentBytes[index] ?? 0);
    bad.script({ path: new RegExp(digest) }, { pump: trickle });
  }
  // One slot, and one download without a slot.
  const app = await mirrorBefore(bad, await registryWith(), { maxConcurrent: 1 });
  const opened = [];
  for (const [index, blob] of slow.entries()) {
    const opening = open(app, pathOf(blob, 'bad.test'));
    await caughtUp(app);
    app.clock.advance(slowAfterMs);
    opened.push(await opening);
    await received(app, (sentBytes[index] ?? 0) + (index === 1 ? 1 : index === 2 ? 50_000 : 0));
  }
  app.clock.advance(slowAfterMs);
  expect((await ask(app, pathOf(wanted, 'bad.test'))).body.equals(wanted.bytes)).toBe(true);
  for (const index of [0, 2]) await expect(opened[index]?.rest()).rejects.toThrow('cut');
  const inFlight = async () => (await app.metrics()).sum('layerwell_cache_fills_in_flight', { upstream: 'bad.test' });
  await expect.poll(inFlight).toBe(1);
  expect(JSON.stringify(app.logLines)).toContain('download.minRate');
  opened[1]?.hangUp();
});

test('a download whose clients have left leaves the queue and is never started', async () => {
  const [held, left, wanted] = manyBlobs(3, 200_000);
  if (!(held && left && wanted)) throw new Error('no blobs');
  const bad = await registryWith(held, left, wanted);
  const flowing = gate();
  bad.script({ path: new RegExp(held.digest) }, { holdBody: { afterBytes: 100_000, until: flowing } });
  const app = await mirrorBefore(bad, await registryWith(), { maxConcurrent: 1 });
  const first = await open(app, pathOf(held, 'bad.test'));
  const leaver = pullers();
  void leaver.pull(app, pathOf(left, 'bad.test'));
  await expect.poll(async () => (await app.metrics()).sum('layerwell_cache_fills_waiting')).toBe(1);
  leaver.leave();
  await expect.poll(async () => (await app.metrics()).sum('layerwell_cache_fills_waiting')).toBe(0);
  const next = ask(app, pathOf(wanted, 'bad.test'));
  await caughtUp(app);
  flowing.open();
  await Promise.all([next, first.rest()]);
  await app.quiet();
  expect(bad.count('GET', new RegExp(left.digest))).toBe(0);
});

test('a download with clients takes the slot of one without', async () => {
  const [left, wanted] = manyBlobs(2, 200_000);
  if (!(left && wanted)) throw new Error('no blobs');
  const bad = await registryWith(left, wanted);
  bad.script({ path: new RegExp(left.digest) }, { holdHeaders: gate() });
  const app = await mirrorBefore(bad, await registryWith(), { maxConcurrent: 1 });
  const leaver = pullers();
  void leaver.pull(app, pathOf(left, 'bad.test'));
  const asked = await bad.arrived('GET', new RegExp(left.digest));
  leaver.leave();
  expect((await ask(app, pathOf(wanted, 'bad.test'))).body.equals(wanted.bytes)).toBe(true);
  expect(await asked.ended).toBe('aborted');
});

test('many clients that wait for one upstream leave room in the queue for the clients of another', async () => {
  const wanted = randomBlob(100_000, 'wanted');
  const [bad, good] = [await registryWith(), await registryWith(wanted)];
  bad.script({ path: blobs }, { holdHeaders: gate() });
  const app = await startApp({
    defaultUpstream: 'good.test',
    upstreams: { 'good.test': { url: good.url }, 'bad.test': { url: bad.url } },
    download: { maxConcurrent: 1 },
    clients: { maxRequests: 3_000 },
  });
  const { pull } = pullers();
  const crowd = manyBlobs(1_002, 10).map((blob) => pull(app, pathOf(blob, 'bad.test')));
  const refused = await Promise.race(crowd);
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5']);
  expect((await ask(app, pathOf(wanted, 'good.test'))).status).toBe(200);
});

test('blobs that trickle leave an upstream connections for its other blobs and manifests', async () => {
  const trickling = manyBlobs(8, 100_000);
  const [wanted, held] = [randomBlob(300_000, 'wanted'), image()];
  const bad = await registryWith(...trickling, wanted);
  bad.content.add(repository, '1', held);
  for (const { digest } of trickling) bad.script({ path: new RegExp(digest) }, { pump: pump() });
  const upstreams = { 'bad.test': { url: bad.url, maxConnections: 8 } };
  const app = await startApp({ defaultUpstream: 'bad.test', upstreams });
  const { pull } = pullers();
  for (const blob of trickling) void pull(app, pathOf(blob, 'bad.test'));
  await bad.arrived('GET', blobs, 6);
  expect((await ask(app, `/v2/${repository}/manifests/1`)).body.equals(held.manifest.bytes)).toBe(true);
  const pulled = ask(app, pathOf(wanted, 'bad.test'));
  await caughtUp(app);
  app.clock.advance(slowAfterMs);
  expect((await pulled).body.equals(wanted.bytes)).toBe(true);
});
