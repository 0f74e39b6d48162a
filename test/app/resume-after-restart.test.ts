import { open as openFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { checkpointFailpoints } from '../../src/storage/filesystem/failpoints.ts';
import { ask, isComplete, open } from '../support/client.ts';
import { type FakeRegistry, type FakeRegistryOptions, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { randomBlob } from '../support/images.ts';
import { type PartialDownload, partialDownloads } from '../support/partial-downloads.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf, type RunningMirror, startMirror } from '../support/start-mirror.ts';

const repository = 'library/app';
const blobs = /\/blobs\//;
const mebibyte = 1024 * 1024;
const blob = randomBlob(24 * mebibyte);
const path = `/v2/${repository}/blobs/${blob.digest}`;
const arrivedBytes = 20 * mebibyte;

/** A registry that stops in the middle of its first answer. */
async function stallingUpstream(
  options: FakeRegistryOptions & { readonly firstBody?: (honest: Buffer) => Buffer } = {},
): Promise<FakeRegistry> {
  const upstream = await startFakeRegistry(options);
  upstream.content.addBlob(repository, blob);
  const holdBody = { afterBytes: arrivedBytes, until: gate() };
  upstream.script({ path: blobs, times: 1 }, { holdBody, ...(options.firstBody && { body: options.firstBody }) });
  return upstream;
}

/** The last checkpoint of a mirror whose download has stalled. */
async function lastCheckpoint({ dataDirectory }: { readonly dataDirectory: string }): Promise<PartialDownload> {
  const read = async () => (await partialDownloads(dataDirectory).catch(() => ({ left: [] }))).left[0];
  await expect.poll(read).toBeDefined();
  const left = await read();
  if (!left) throw new Error('the checkpoint is gone');
  return left;
}

/** A mirror that was killed during a download and started again, with this much space. */
async function killedInTheMiddle(
  upstream: FakeRegistry,
  maxSize = '1GiB',
): Promise<{ mirror: RunningMirror; left: PartialDownload }> {
  const mirror = await startMirror(mirrorOf(upstream));
  const answer = await open(mirror, path);
  await answer.read(arrivedBytes);
  const left = await lastCheckpoint(mirror);
  await mirror.kill();
  const storage = { path: mirror.dataDirectory, maxSize, minFree: '0B' };
  await mirror.restart(mirrorOf(upstream, { storage }));
  await indexed(mirror);
  return { mirror, left };
}

/** Resolves when the index knows all of the store: before, nothing may be stored. */
async function indexed({ managementUrl }: RunningMirror): Promise<void> {
  const ready = async () => JSON.parse((await ask({ url: managementUrl }, '/readyz')).body.toString());
  await expect.poll(ready).toMatchObject({ index: 'ok' });
}

/** Pulls the whole, and looks at what the upstream was asked for it. */
async function pulledFrom(app: RunningMirror | RunningApp, upstream: FakeRegistry) {
  upstream.forgetRequests();
  const { body, status } = await ask(app, path);
  expect({ status, isRight: body.equals(blob.bytes) }).toEqual({ status: 200, isRight: true });
  const seen = upstream.seen('GET', blobs);
  return {
    ranges: seen.map(({ headers }) => headers.range),
    sentBytes: seen.reduce((sum, { sentBytes }) => sum + sentBytes, 0),
  };
}

/** Resolves when no download runs any more. */
async function quiet(app: RunningMirror | RunningApp): Promise<void> {
  await expect.poll(async () => (await app.metrics()).sum('layerwell_cache_fills_in_flight')).toBe(0);
}

async function expectKept(app: RunningMirror | RunningApp): Promise<void> {
  await quiet(app);
  await expectIncoming(app, { left: [], others: [] });
  expect((await ask(app, path)).cache).toBe('hit');
}

/** Waits until incoming/ has these files: the mirror's own state passes through it too, at moments of its own. */
async function expectIncoming({ dataDirectory }: Pick<RunningMirror, 'dataDirectory'>, files: object): Promise<void> {
  await expect.poll(() => partialDownloads(dataDirectory)).toMatchObject(files);
}

test('after a kill in the middle of a download the next pull resumes from the disk, and the upstream sends the rest only', async () => {
  const upstream = await stallingUpstream();
  const { mirror, left } = await killedInTheMiddle(upstream);
  expect(left.matchesCheckpoint).toBe(true);
  await expectIncoming(mirror, { left: [{ ...left, fileBytes: left.checkpointBytes }], others: [] });
  expect((await mirror.metrics()).sum('layerwell_storage_pending_bytes')).toBe(left.checkpointBytes);

  expect(await pulledFrom(mirror, upstream)).toEqual({
    ranges: [`bytes=${left.checkpointBytes - 1}-`],
    sentBytes: blob.bytes.byteLength - left.checkpointBytes + 1,
  });
  await expectKept(mirror);
  const metrics = await mirror.metrics();
  expect(metrics.sum('layerwell_storage_pending_bytes')).toBe(0);
  expect(metrics.sum('layerwell_cache_corruptions_total')).toBe(0);
  expect(metrics.sum('layerwell_internal_errors_total')).toBe(0);
});

test('after a stop in the middle of a download the next pull resumes at the last byte that had arrived', async () => {
  const upstream = await stallingUpstream();
  const mirror = await startMirror(mirrorOf(upstream, { shutdown: { drain: '100ms' } }));
  const answer = await open(mirror, path);
  await answer.read(arrivedBytes);
  await mirror.restart();
  await expectIncoming(mirror, { left: [{ checkpointBytes: arrivedBytes }], others: [] });

  expect((await pulledFrom(mirror, upstream)).ranges).toEqual([`bytes=${arrivedBytes - 1}-`]);
  await expectKept(mirror);
});

test.each(checkpointFailpoints)('killed at %s, it leaves no partial download that cannot be resumed', async (step) => {
  const upstream = await stallingUpstream();
  const mirror = await startMirror(mirrorOf(upstream), { env: { LAYERWELL_FAILPOINT: step } });
  await ask(mirror, path).catch(() => {});
  expect(await mirror.exited).toEqual({ code: null, signal: 'SIGKILL' });
  await mirror.restart();

  await expectIncoming(mirror, { others: [] });
  const { left } = await partialDownloads(mirror.dataDirectory);
  expect(
    left.filter(
      ({ matchesCheckpoint, fileBytes, checkpointBytes }) => !matchesCheckpoint || fileBytes !== checkpointBytes,
    ),
  ).toEqual([]);
  const { ranges } = await pulledFrom(mirror, upstream);
  expect(ranges).toEqual([left[0] && `bytes=${left[0].checkpointBytes - 1}-`]);
  await expectKept(mirror);
});

test('an upstream that sends no parts sends the whole again, and the client gets it once', async () => {
  const upstream = await stallingUpstream({ ranges: false });
  const { mirror } = await killedInTheMiddle(upstream);
  expect((await pulledFrom(mirror, upstream)).sentBytes).toBe(blob.bytes.byteLength);
  await expectKept(mirror);
});

test('a partial download that was damaged on the disk reaches no client: the whole blob is fetched, and the damage reported', async () => {
  const upstream = await stallingUpstream();
  const { mirror, left } = await killedInTheMiddle(upstream);
  await damage(left.file, mebibyte);

  const { ranges } = await pulledFrom(mirror, upstream);
  expect(ranges).toEqual([`bytes=${left.checkpointBytes - 1}-`, undefined]);
  await expectKept(mirror);
  expect((await mirror.metrics()).sum('layerwell_internal_errors_total')).toBe(1);
});

test('wrong bytes that arrived before the restart fail one pull, and the next gets the right ones', async () => {
  const upstream = await stallingUpstream({ firstBody: (honest) => flipped(honest, mebibyte) });
  const { mirror } = await killedInTheMiddle(upstream);

  expect(await isComplete(mirror, path)).toBe(false);
  await expect
    .poll(async () => (await mirror.metrics()).sum('layerwell_cache_fills_total', { result: 'digest_mismatch' }))
    .toBe(1);
  await expectIncoming(mirror, { left: [], others: [] });
  expect((await pulledFrom(mirror, upstream)).ranges).toEqual([undefined]);
  await expectKept(mirror);
});

test.each([404, 503])('a partial download survives a pull that the upstream answers with %s', async (status) => {
  const upstream = await stallingUpstream();
  const { mirror, left } = await killedInTheMiddle(upstream);
  upstream.script({ path: blobs }, { status });
  expect((await ask(mirror, path)).status).toBe(status);
  upstream.clearScripts();
  await mirror.restart();
  expect((await pulledFrom(mirror, upstream)).ranges).toEqual([`bytes=${left.checkpointBytes - 1}-`]);
});

test('a resumed download reserves no space twice', async () => {
  const upstream = await stallingUpstream();
  const { mirror } = await killedInTheMiddle(upstream, '25MiB');
  expect((await pulledFrom(mirror, upstream)).ranges).toHaveLength(1);
  await expectKept(mirror);
});

test('a partial download is dropped when the next pull needs its space', async () => {
  const upstream = await stallingUpstream();
  const wanted = randomBlob(20 * mebibyte, 'wanted');
  upstream.content.addBlob(repository, wanted);
  const { mirror } = await killedInTheMiddle(upstream, '30MiB');

  const wantedPath = `/v2/${repository}/blobs/${wanted.digest}`;
  expect((await ask(mirror, wantedPath)).cache).toBe('fwd=uri-miss; fwd-status=200; stored');
  await quiet(mirror);
  await expectIncoming(mirror, { left: [], others: [] });
  expect((await ask(mirror, wantedPath)).cache).toBe('hit');
});

test('a blob for whose rest there is no space is relayed from its beginning, and its partial download stays', async () => {
  const upstream = await stallingUpstream();
  const { mirror, left } = await killedInTheMiddle(upstream, '22MiB');
  const { ranges } = await pulledFrom(mirror, upstream);
  expect(ranges).toEqual([`bytes=${left.checkpointBytes - 1}-`, undefined]);
  expect((await partialDownloads(mirror.dataDirectory)).left).toHaveLength(1);
});

/** A pull that the upstream broke off for good. */
async function brokenOff(app: RunningApp, upstream: FakeRegistry): Promise<void> {
  upstream.content.addBlob(repository, blob);
  upstream.script({ path: blobs, times: 1 }, { cutAfterBytes: arrivedBytes });
  upstream.script({ path: blobs, times: 1 }, { status: 403 });
  expect(await isComplete(app, path)).toBe(false);
  await app.quiet();
}

test('a pull resumes the partial download of a failed one, without a restart too', async () => {
  const upstream = await startFakeRegistry();
  const app = await startApp(mirrorOf(upstream));
  await brokenOff(app, upstream);
  expect((await pulledFrom(app, upstream)).ranges).toEqual([`bytes=${arrivedBytes - 1}-`]);
  await expectKept(app);
});

test('the headers do not wait until the partial download has been read back', async () => {
  const upstream = await startFakeRegistry();
  const files = new ScriptedFiles();
  const app = await startApp(mirrorOf(upstream), { files });
  await brokenOff(app, upstream);
  const disk = gate();
  files.before = async (call) => (call.operation === 'read' ? disk.opened : undefined);
  const answer = await open(app, path);
  expect(answer.headers['content-length']).toBe(String(blob.bytes.byteLength));
  expect(answer.receivedBytes).toBe(0);
  disk.open();
  expect((await answer.rest()).equals(blob.bytes)).toBe(true);
});

function flipped(bytes: Buffer, position: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[position] = (changed[position] ?? 0) ^ 1;
  return changed;
}

async function damage(file: string, position: number): Promise<void> {
  await using handle = await openFile(file, 'r+');
  const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, position);
  await handle.write(flipped(buffer, 0), 0, 1, position);
}
