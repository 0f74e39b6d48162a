import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Waiting } from '../../src/mirror/ports/waiting.ts';
import { areKept, imageOf, kib } from '../support/bounded-store.ts';
import { ask } from '../support/client.ts';
import { type PinnedApp, publishAndPull, startPinned } from '../support/pinning.ts';
import { type FileCall, ScriptedFiles } from '../support/scripted-files.ts';

const pinned = imageOf('pinned');
const unreadable = 'the pins cannot be read: until they can be, nothing is evicted, and no pin can be changed';

/** Each wait ends when the test says so. */
function scriptedWait() {
  const pauses: number[] = [];
  let end = () => {};
  const wait = (ms: number, { signal }: Waiting): Promise<void> => {
    pauses.push(ms);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    end = resolve;
    return promise;
  };
  return { pauses, wait, end: () => end() };
}

/** A mirror with a pinned image, and room for one more, that starts while the disk fails such calls. */
async function startedWhile(fails: (call: FileCall) => string | undefined, bytes?: string) {
  const files = new ScriptedFiles();
  const { pauses, wait, end } = scriptedWait();
  const world = await startPinned({ maxSize: `${1200 * kib}B` }, files, { pinsWait: wait });
  await publishAndPull(world, 'library/a', pinned);
  await world.pinned('docker.io/library/a');
  await world.app.stop();
  if (bytes !== undefined) await writeFile(join(world.app.dataDirectory, 'pins.json'), bytes);
  files.failWith = fails;
  await world.app.start(world.app.config);
  const retry = async () => {
    const before = pauses.length;
    end();
    await expect.poll(() => pauses.length).toBeGreaterThan(before);
  };
  return { ...world, files, pauses, retry, endWait: end };
}

const readFails = ({ operation, path }: FileCall) =>
  operation === 'read' && path.endsWith('/pins.json') ? 'EIO' : undefined;

async function stateOf({ app }: PinnedApp) {
  const { status, body } = await ask({ url: app.managementUrl }, '/readyz');
  const metrics = await app.metrics();
  return {
    status,
    pins: JSON.parse(body.toString()).pins,
    up: metrics.sum('layerwell_pins_up'),
    evicted: metrics.sum('layerwell_cache_evictions_total') > 0,
  };
}

const arePinsKept = (world: PinnedApp) => areKept(world, 'library/a', [pinned.manifest, ...pinned.blobs]);
const allKept = [true, true, true, true];

async function pullOthers(world: PinnedApp, ...names: readonly string[]): Promise<void> {
  for (const name of names) await publishAndPull(world, `acme/${name}`, imageOf(name));
}

test('as long as the disk cannot read the pins, nothing is evicted and a full store serves without storing; then what is not pinned goes', async () => {
  const world = await startedWhile(readFails);
  const { app, files, pauses, retry } = world;
  await pullOthers(world, 'b', 'c', 'd');
  expect(await stateOf(world)).toEqual({ status: 200, pins: 'unreadable', up: 0, evicted: false });
  expect(await arePinsKept(world)).toEqual(allKept);
  expect(await areKept(world, 'acme/d', imageOf('d').blobs.slice(1))).toEqual([false, false]);
  expect(await world.listed()).toMatchObject({ items: [], isReadable: false });
  expect(await world.pinned('docker.io/acme/b')).toMatchObject({ status: 503 });
  for (let nth = 0; nth < 7; nth += 1) await retry();
  expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 60, 60].map((seconds) => seconds * 1_000));
  expect(app.logLines.filter(({ msg }) => msg === unreadable)).toMatchObject([{ level: 50 }]);

  files.failWith = () => undefined;
  world.endWait();
  await expect.poll(() => stateOf(world)).toEqual({ status: 200, pins: undefined, up: 1, evicted: false });
  await pullOthers(world, 'e', 'f');
  expect(await stateOf(world)).toMatchObject({ evicted: true });
  expect(await arePinsKept(world)).toEqual(allKept);
  expect(await world.listed()).toMatchObject({ items: [{ pin: 'docker.io/library/a' }], isReadable: true });
  expect(app.logLines).toContainEqual(expect.objectContaining({ msg: 'the pins have been read', level: 30 }));
});

test('pins that are lost for good no longer keep anything once an operator has removed their file', async () => {
  const world = await startedWhile(readFails);
  await rm(join(world.app.dataDirectory, 'pins.json'));
  world.endWait();
  await expect.poll(() => stateOf(world)).toMatchObject({ pins: undefined, up: 1 });
  await pullOthers(world, 'b', 'c');
  expect(await stateOf(world)).toMatchObject({ evicted: true });
  expect((await world.pinned('docker.io/acme/c')).status).toBe(200);
});

test('damaged pins keep nothing, and cannot be changed until their file was copied', async () => {
  const copyFails = ({ operation, path }: FileCall) =>
    operation === 'rename' && path.endsWith('pins.damaged.json') ? 'ENOSPC' : undefined;
  const world = await startedWhile(copyFails, '{"version":');
  await pullOthers(world, 'b', 'c');
  expect(await stateOf(world)).toEqual({ status: 200, pins: undefined, up: 1, evicted: true });
  expect(await world.pinned('docker.io/acme/c')).toMatchObject({ status: 503 });
  await world.retry();
  world.files.failWith = () => undefined;
  world.endWait();
  await expect.poll(async () => (await world.pinned('docker.io/acme/c')).status).toBe(200);
});

test('a file of pins that is longer than any that was written keeps nothing, and may be replaced once it is removed', async () => {
  const world = await startedWhile(() => undefined, ' '.repeat(9 * 1024 * kib));
  await pullOthers(world, 'b', 'c');
  expect(await stateOf(world)).toEqual({ status: 200, pins: undefined, up: 1, evicted: true });
  expect(await world.pinned('docker.io/acme/c')).toMatchObject({ status: 503 });
  await rm(join(world.app.dataDirectory, 'pins.json'));
  world.endWait();
  await expect.poll(async () => (await world.pinned('docker.io/acme/c')).status).toBe(200);
});

test('a mirror that cannot read its pins stops at once', async () => {
  const { app, pauses } = await startedWhile(readFails);
  expect(pauses).toHaveLength(1);
  await app.stop();
  expect(pauses).toHaveLength(1);
});
