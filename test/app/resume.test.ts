import { expect, test } from 'vitest';
import { ask, open } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image, randomBlob, randomBytes } from '../support/images.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { storeOnDisk } from '../support/store-on-disk.ts';

const repository = 'library/app';
const blobs = /\/blobs\//;
const mebibyte = 1024 * 1024;

/** Where each answer of an upstream is cut, in bytes of its own body, so that the blob breaks off at `positions`. */
function cutAt(upstream: FakeRegistry, positions: readonly number[]): void {
  let from = 0;
  for (const position of positions) {
    upstream.script({ path: blobs, times: 1 }, { cutAfterBytes: position - from });
    from = position;
  }
}

/** The same at every run: `count` positions within `size`, in order. */
function randomPositions(count: number, size: number): readonly number[] {
  const dice = randomBytes(4 * count, 'positions');
  return Array.from({ length: count }, (_, index) => 1 + (dice.readUInt32BE(4 * index) % (size - 1))).toSorted(
    (a, b) => a - b,
  );
}

async function receivedBytes(app: RunningApp): Promise<number> {
  return (await app.metrics()).sum('layerwell_upstream_response_bytes_total', { kind: 'blob' });
}

test('a client does not notice an upstream that cuts a blob twenty times, and hardly a byte is fetched twice', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(256 * mebibyte);
  upstream.content.addBlob(repository, blob);
  cutAt(upstream, randomPositions(20, blob.bytes.length));
  const app = await startApp(mirrorOf(upstream));
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  expect((await ask(app, path)).body.equals(blob.bytes)).toBe(true);
  expect(upstream.count('GET', blobs)).toBe(21);
  await app.quiet();
  expect((await receivedBytes(app)) - blob.bytes.length).toBeLessThanOrEqual(blob.bytes.length / 100);
  expect((await ask(app, path)).cache).toBe('hit');
});

test('bytes that arrived before a cut are not fetched again, though a slow disk had not written them yet', async () => {
  const files = new ScriptedFiles();
  const disk = gate();
  files.before = async ({ operation }) => (operation === 'write' ? disk.opened : undefined);
  const upstream = await startFakeRegistry();
  const blob = randomBlob(4 * mebibyte);
  upstream.content.addBlob(repository, blob);
  const cutAfterBytes = mebibyte / 2; // As much as may wait for the disk, however little the first write had.
  upstream.script({ path: blobs, times: 1 }, { cutAfterBytes });
  const app = await startApp(mirrorOf(upstream), { files });
  const answer = ask(app, `/v2/${repository}/blobs/${blob.digest}`);
  await expect.poll(() => receivedBytes(app)).toBeGreaterThanOrEqual(cutAfterBytes);
  disk.open();
  expect((await answer).body.equals(blob.bytes)).toBe(true);
  expect(upstream.seen('GET', blobs).map(({ headers }) => headers.range)).toEqual([
    undefined,
    `bytes=${cutAfterBytes}-`,
  ]);
});

test('an upstream that answers a range with the whole blob is read up to the missing bytes, which are used', async () => {
  const upstream = await startFakeRegistry({ ranges: false });
  const blob = randomBlob(4 * mebibyte);
  upstream.content.addBlob(repository, blob);
  upstream.script({ path: blobs, times: 1 }, { cutAfterBytes: 3 * mebibyte });
  const app = await startApp(mirrorOf(upstream));
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  expect((await ask(app, path)).body.equals(blob.bytes)).toBe(true);
  expect(upstream.count('GET', blobs)).toBe(2);
  await app.quiet();
  expect((await ask(app, path)).cache).toBe('hit');
});

test('an upstream that resumes with another part is rejected: the client is cut, and the next pull is right', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(4 * mebibyte);
  upstream.content.addBlob(repository, blob);
  upstream.script({ path: blobs, times: 1 }, { cutAfterBytes: mebibyte });
  const elsewhere = { 'content-range': `bytes ${2 * mebibyte}-${4 * mebibyte - 1}/${4 * mebibyte}` };
  upstream.script({ path: blobs, times: 1 }, { headers: elsewhere, body: (rest) => rest.subarray(mebibyte) });
  const app = await startApp(mirrorOf(upstream));
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  await expect(ask(app, path)).rejects.toThrow('cut');
  expect((await ask(app, path)).body.equals(blob.bytes)).toBe(true);
  expect(upstream.count('GET', blobs)).toBe(3);
});

test('an upstream that falls silent within a blob is asked for the rest after the idle time', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(4 * mebibyte);
  upstream.content.addBlob(repository, blob);
  upstream.script({ path: blobs, times: 1 }, { holdBody: { afterBytes: 3 * mebibyte, until: gate() } });
  const app = await startApp(mirrorOf(upstream, { download: { idleTimeout: '200ms' } }));
  expect((await ask(app, `/v2/${repository}/blobs/${blob.digest}`)).body.equals(blob.bytes)).toBe(true);
  const [stalled, resumed] = upstream.seen('GET', blobs);
  expect(await stalled?.ended).toBe('aborted');
  expect(resumed?.headers.range).toBe(`bytes=${3 * mebibyte}-`);
});

test('an upstream that fails in between is asked again, and no byte arrives twice', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(2 * mebibyte);
  upstream.content.addBlob(repository, blob);
  upstream.script({ path: blobs, times: 1 }, { cutAfterBytes: mebibyte });
  upstream.script({ path: blobs, times: 1 }, { status: 503 });
  upstream.script({ path: blobs, times: 1 }, { dropConnection: true });
  const app = await startApp(mirrorOf(upstream));
  expect((await ask(app, `/v2/${repository}/blobs/${blob.digest}`)).body.equals(blob.bytes)).toBe(true);
  expect(await receivedBytes(app)).toBeLessThan(blob.bytes.length + 1_000);
});

test('a blob that is shorter than announced is reported as a fault of the upstream', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(30_000);
  upstream.content.addBlob(repository, blob);
  upstream.script({ path: blobs, times: 1 }, { contentLength: 40_000, cutAfterBytes: 30_000 });
  const app = await startApp(mirrorOf(upstream));
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  expect((await ask(app, path)).status).toBe(502);
  expect(upstream.seen('GET', blobs)[1]?.headers.range).toBe('bytes=30000-');
  expect((await ask(app, path)).body.equals(blob.bytes)).toBe(true);
});

test('if the upstream does not come back the answer is cut, and nothing is left behind', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(4 * mebibyte);
  upstream.content.addBlob(repository, blob);
  const half = gate();
  upstream.script({ path: blobs, times: 1 }, { holdBody: { afterBytes: 2 * mebibyte, until: half } });
  const app = await startApp(mirrorOf(upstream, { download: { attemptsWithoutProgress: 1 } }));
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  const followers = await Promise.all([open(app, path), open(app, path)]);
  await followers[0].read(mebibyte);
  await upstream.stop();
  for (const follower of followers) await expect(follower.rest()).rejects.toThrow('cut');
  await app.quiet();
  expect((await storeOnDisk(app.dataDirectory)).incoming).toEqual([]);
  expect((await app.metrics()).sum('layerwell_cache_fills_total', { result: 'upstream_error' })).toBe(1);

  await upstream.start();
  expect((await ask(app, path)).body.equals(blob.bytes)).toBe(true);
});

test.each([
  { what: 'whose size its manifest tells', isPromised: true },
  { what: 'whose size is not reported', isPromised: false },
])(
  'a blob $what is complete when all its bytes have arrived, though the answer broke off instead of ending',
  async ({ isPromised }) => {
    const upstream = await startFakeRegistry();
    const pulled = image({ name: 'broke off' });
    upstream.content.add(repository, '1', pulled);
    const layer = pulled.blobs.at(-1);
    if (!layer) throw new Error('an image without layers');
    upstream.script({ path: blobs, times: 1 }, { contentLength: 'absent', cutAfterBytes: layer.bytes.length });
    const app = await startApp(mirrorOf(upstream));
    if (isPromised) await ask(app, `/v2/${repository}/manifests/1`);
    const path = `/v2/${repository}/blobs/${layer.digest}`;
    expect((await ask(app, path)).body.equals(layer.bytes)).toBe(true);
    await app.quiet();
    expect((await ask(app, path)).cache).toBe('hit');
  },
);
