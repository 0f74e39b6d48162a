import { join } from 'node:path';
import { expect, test } from 'vitest';
import { blobPath } from '../../src/storage/layout.ts';
import { ask } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { blobsIn, namesIn } from '../support/files-in.ts';
import { PowerLossDisk } from '../support/power-loss-disk.ts';
import { type Image, image, randomBlob } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { type FileCall, ScriptedFiles } from '../support/scripted-files.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const timeout = 90_000;
/** More disk calls than a pull makes. */
const maxCalls = 120;

/** A full or read-only disk refuses what would change it; a broken one, or a process without descriptors, anything. */
const changes: readonly FileCall['operation'][] = [
  'open',
  'write',
  'truncate',
  'sync',
  'mkdir',
  'rename',
  'unlink',
  'rmdir',
];
const disks = [
  { code: 'ENOSPC', refused: changes },
  { code: 'EROFS', refused: changes },
  { code: 'EIO', refused: undefined },
  { code: 'EMFILE', refused: undefined },
];
type Disk = (typeof disks)[number];

interface Mirror {
  readonly upstream: FakeRegistry;
  readonly app: RunningApp;
  readonly files: ScriptedFiles;
}

async function startMirror(more: MirrorConfig = {}): Promise<Mirror> {
  const upstream = await startFakeRegistry();
  const files = new ScriptedFiles(new PowerLossDisk());
  return { upstream, files, app: await startApp(mirrorOf(upstream, more), { files }) };
}

function publish({ upstream }: Mirror, tag: string): Image {
  const made = image({ name: `image ${tag}`, layerBytes: 70_000 });
  upstream.content.add(repository, tag, made);
  return made;
}

/**
 * Pulls an image while the disk fails one call, and then once more.
 * @returns whether so many calls were made at all.
 */
async function pullWhile({ code, refused }: Disk, failing: number, { app, files }: Mirror): Promise<boolean> {
  const calls: FileCall[] = [];
  files.failWith = (call) => {
    if (refused?.includes(call.operation) === false) return undefined;
    calls.push(call);
    return calls.length === failing + 1 ? code : undefined;
  };
  await pullAll(app, repository, `${failing}`).catch((cause: unknown) => expectCut(cause, calls[failing]));
  await app.quiet();
  files.failWith = () => undefined;
  await pullAll(app, repository, `${failing}`);
  await app.quiet();
  return calls.length > failing;
}

/** The one failure that cuts an answer: bytes being sent can no longer be read from the disk. */
function expectCut(cause: unknown, failed: FileCall | undefined): void {
  expect({ cut: cause instanceof TypeError, operation: failed?.operation }).toEqual({ cut: true, operation: 'read' });
}

async function expectWholeStore({ app, files }: Mirror): Promise<void> {
  const blobs = await blobsIn(files, app.dataDirectory);
  expect([...blobs].filter(([, { isWhole }]) => !isWhole)).toEqual([]);
  expect(await namesIn(files, join(app.dataDirectory, 'set-aside'))).toEqual([]);
}

test.each(disks)(
  'when any disk call of a first pull fails with $code, the pull is served, and all of it is stored in the end',
  { timeout },
  async (disk) => {
    const mirror = await startMirror();
    let reached = 0;
    for (let isReached = true; isReached; reached += 1) {
      publish(mirror, `${reached}`);
      isReached = await pullWhile(disk, reached, mirror);
    }
    expect(reached).toBeGreaterThan(20);
    await mirror.app.stop();
    await expectWholeStore(mirror);

    await mirror.upstream.stop();
    await mirror.app.restart();
    await expect.poll(() => namesIn(mirror.files, join(mirror.app.dataDirectory, 'incoming'))).toEqual([]);
    for (let tag = 0; tag < reached; tag += 1) await pullAll(mirror.app, repository, `${tag}`);
  },
);

test.each(disks)(
  'when any disk call of a later pull fails with $code, the pull is served from the store or the upstream',
  { timeout },
  async (disk) => {
    const mirror = await startMirror();
    for (let tag = 0; tag < maxCalls / 2; tag += 1) {
      publish(mirror, `${tag}`);
      await pullAll(mirror.app, repository, `${tag}`);
    }
    await mirror.app.restart();
    let reached = 0;
    while (await pullWhile(disk, reached, mirror)) reached += 1;
    expect(reached).toBeGreaterThan(5);
    await expectWholeStore(mirror);
  },
);

test.each(disks.filter(({ code }) => code === 'ENOSPC' || code === 'EIO'))(
  'whichever call the disk fails with $code while room is made, pulls are served, and the bound holds again afterwards',
  { timeout },
  async (disk) => {
    const mirror = await startMirror({ storage: { maxSize: '200KiB', minFree: '0B' } });
    let reached = 0;
    for (let isReached = true; isReached; reached += 1) {
      publish(mirror, `${reached}`);
      isReached = await pullWhile(disk, reached, mirror);
    }
    publish(mirror, 'last');
    await pullAll(mirror.app, repository, 'last');
    await mirror.app.stop();
    const kept = await blobsIn(mirror.files, mirror.app.dataDirectory);
    expect([...kept.values()].reduce((sum, { size }) => sum + size, 0)).toBeLessThanOrEqual(200 * 1024);
    await expectWholeStore(mirror);
  },
);

test('while every disk call fails, images can still be pulled, and are stored once the disk recovers', async () => {
  const mirror = await startMirror();
  const digests = ['1', '2', '3'].map((tag) => publish(mirror, tag).manifest.digest);
  const pulled = async () => {
    const pulls = ['1', '2', '3'].map(async (tag) => (await pullAll(mirror.app, repository, tag)).digest);
    return Promise.all(pulls);
  };
  mirror.files.failWith = () => 'EIO';
  for (let round = 0; round < 3; round += 1) expect(await pulled()).toEqual(digests);
  mirror.files.failWith = () => undefined;
  expect(await pulled()).toEqual(digests);
  await mirror.app.restart();
  await mirror.upstream.stop();
  expect(await pulled()).toEqual(digests);
});

async function withCachedBlob() {
  const mirror = await startMirror();
  const blob = randomBlob(300_000);
  mirror.upstream.content.addBlob(repository, blob);
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  await ask(mirror.app, path);
  await mirror.app.quiet();
  return { ...mirror, blob, path };
}

test('a blob that cannot be read from disk is fetched again within the same response, and its file is replaced', async () => {
  const { app, files, blob, path } = await withCachedBlob();
  files.failToReadUntilReplaced(join(app.dataDirectory, blobPath(blob.digest)));
  const again = await ask(app, path);
  expect(again).toMatchObject({ status: 200, cache: 'fwd=uri-miss; fwd-status=200; stored' });
  expect(again.body.equals(blob.bytes)).toBe(true);
  await app.quiet();
  expect((await ask(app, path)).cache).toBe('hit');
  expect((await app.metrics()).sum('layerwell_internal_errors_total', { part: 'blob store' })).toBe(1);
});

test('a range of a cached blob that cannot be opened is answered with the whole blob, verified: never with wrong bytes', async () => {
  const { upstream, app, files, blob, path } = await withCachedBlob();
  const file = join(app.dataDirectory, blobPath(blob.digest));
  files.failWith = (call) => (call.path === file && call.operation === 'open' ? 'EMFILE' : undefined);
  const part = { headers: { range: 'bytes=5-9' } };
  const answer = await ask(app, path, part);
  expect(answer.status).toBe(200);
  expect(answer.body.equals(blob.bytes)).toBe(true);
  upstream.script({ path: /\/blobs\// }, { body: (honest) => Buffer.alloc(honest.length, 'wrong') });
  // For a moment it can be read by the next client too.
  await expect.poll(async () => (await app.metrics()).sum('layerwell_memory_reserved_bytes')).toBe(0);
  const lied = await ask(app, path, part).catch(() => undefined);
  expect([undefined, 502]).toContain(lied?.status);
});

test('a blob that cannot be read from disk while the upstream is down is a 503', async () => {
  const { upstream, app, files, path } = await withCachedBlob();
  files.failWith = ({ operation }) => (operation === 'read' ? 'EIO' : undefined);
  await upstream.stop();
  expect((await ask(app, path)).status).toBe(503);
  expect((await ask(app, path, { headers: { range: 'bytes=5-9' } })).status).toBe(503);
});

test('a process without descriptors logs few lines however many requests fail, and counts them all', async () => {
  const mirror = await startMirror();
  publish(mirror, '1');
  await pullAll(mirror.app, repository, '1');
  mirror.files.failWith = ({ operation }) => (operation === 'open' ? 'EMFILE' : undefined);
  const requests = 300;
  for (let asked = 0; asked < requests; asked += 1) await ask(mirror.app, `/v2/${repository}-${asked}/manifests/1`);
  const failures = mirror.app.logLines.filter(({ msg }) => msg === 'internal error');
  const parts = new Set(failures.map(({ part }) => part));
  expect(failures.length).toBeLessThanOrEqual(10 * parts.size);
  expect((await mirror.app.metrics()).sum('layerwell_internal_errors_total')).toBeGreaterThanOrEqual(requests);
});

test('a disk that does not report its free space hides no other metric, and the mirror is not ready', async () => {
  const mirror = await startMirror();
  publish(mirror, '1');
  mirror.files.failWith = ({ operation }) => (operation === 'freeSpace' ? 'EIO' : undefined);
  await pullAll(mirror.app, repository, '1');
  const ready = await ask({ url: mirror.app.managementUrl }, '/readyz');
  expect({ status: ready.status, store: JSON.parse(ready.body.toString()).store }).toEqual({
    status: 503,
    store: 'EIO',
  });
  const metrics = await mirror.app.metrics();
  expect(metrics.sum('layerwell_storage_free_bytes')).toBeNaN();
  expect(metrics.sum('layerwell_http_requests_total', { code: '200' })).toBe(3);
});
