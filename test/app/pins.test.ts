import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { pin, pins, unpin } from '../../src/commands/content/pins.ts';
import { askApi } from '../support/api-answers.ts';
import { areKept, imageOf, imageOver, kib, layer } from '../support/bounded-store.ts';
import { type Image, multiPlatformImage } from '../support/images.ts';
import { headers, publishAndPull, startPinned } from '../support/pinning.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';

const hour = 3_600_000;

const partsOf = ({ manifest, children, blobs }: Image) => [manifest, ...children, ...blobs];
const all = (count: number) => Array<boolean>(count).fill(true);

test.each([
  ['a glob', 'docker.io/library/*'],
  ['a digest', undefined],
])('%s that is pinned outlives newer images and unusedFor, with its layers, until it is unpinned', async (_, text) => {
  const world = await startPinned({ maxSize: `${1500 * kib}B`, unusedFor: '10h' });
  const built = imageOf('a');
  await publishAndPull(world, 'library/a', built);
  const name = text ?? `docker.io/library/a@${built.manifest.digest}`;
  expect((await world.pinned(name)).body).toMatchObject({ pin: name, isRemovable: true });
  for (const other of ['b', 'c', 'd', 'e']) await publishAndPull(world, `acme/${other}`, imageOf(other));
  expect(await areKept(world, 'library/a', partsOf(built))).toEqual(all(4));
  expect(await areKept(world, 'acme/b', [imageOf('b').manifest])).toEqual([false]);
  await world.app.restart();
  world.app.clock.advance(20 * hour);
  await publishAndPull(world, 'acme/f', imageOf('f'));
  await world.app.restart(); // It sweeps at its start.
  await expect.poll(() => areKept(world, 'acme/e', [imageOf('e').manifest])).toEqual([false]);
  expect(await areKept(world, 'library/a', partsOf(built))).toEqual(all(4));

  expect(await world.listed()).toMatchObject({ items: [{ pin: name }], pinnedBytes: expect.any(Number) });
  expect((await world.unpinned(name)).status).toBe(200);
  expect(await world.unpinned(name)).toMatchObject({ status: 404 });
  for (const other of ['g', 'h', 'i']) await publishAndPull(world, `acme/${other}`, imageOf(other));
  expect((await areKept(world, 'library/a', [built.manifest]))[0]).toBe(false);
});

test('a pinned tag keeps what it points at: what it pointed at before is evicted', async () => {
  const world = await startPinned({ maxSize: `${1500 * kib}B` });
  const [before, after] = [imageOf('before'), imageOf('after')];
  await publishAndPull(world, 'library/a', before);
  await world.pinned('docker.io/library/a:1');
  world.app.clock.advance(hour);
  await publishAndPull(world, 'library/a', after);
  for (const other of ['b', 'c', 'd']) await publishAndPull(world, `acme/${other}`, imageOf(other));
  expect(await areKept(world, 'library/a', [before.manifest, after.manifest])).toEqual([false, true]);
});

test('an image index is pinned with the images in it', async () => {
  const world = await startPinned({ maxSize: `${1200 * kib}B` });
  const built = multiPlatformImage();
  await publishAndPull(world, 'library/a', built);
  await world.pinned('docker.io/library/a:1');
  for (const other of ['b', 'c', 'd']) await publishAndPull(world, `acme/${other}`, imageOf(other));
  // Nothing but the index names them.
  const named = [...built.children, ...built.blobs];
  expect(await areKept(world, 'library/a', named)).toEqual(all(named.length));
});

test('what would keep more than nine tenths of the store is refused, and a store that is full of pins serves without storing', async () => {
  const world = await startPinned({ maxSize: `${4000 * kib}B` });
  await publishAndPull(world, 'library/a', imageOver('a', layer('large', 3200 * kib)));
  await world.pinned('docker.io/library/a');
  const other = imageOver('b', layer('other', 480 * kib));
  await publishAndPull(world, 'acme/b', other);
  expect(await world.pinned('docker.io/acme/*')).toMatchObject({ status: 422, body: { type: '/problems/refused' } });
  await publishAndPull(world, 'acme/c', imageOver('c', layer('too large', 1000 * kib)));
  expect(await areKept(world, 'acme/b', [other.manifest])).toEqual([true]);
  expect((await world.listed()).items).toHaveLength(1);
});

test('storage.keep is listed, and is not removed by an unpin', async () => {
  const world = await startPinned({ keep: ['docker.io/library/*'] });
  await world.pinned('docker.io/acme/a');
  const { items } = await world.listed();
  expect(items).toMatchObject([
    { pin: 'docker.io/library/*', isRemovable: false },
    { pin: 'docker.io/acme/a', isRemovable: true },
  ]);
  expect(await world.unpinned('docker.io/library/*')).toMatchObject({ status: 422 });
  const [first] = [await askApi(world.app, '/api/v1/pins?limit=1')];
  expect(first.body['items']).toHaveLength(1);
  const rest = await askApi(world.app, `/api/v1/pins?cursor=${String(first.body['nextCursor'])}`);
  expect(rest.body['items']).toMatchObject([{ pin: 'docker.io/acme/a' }]);
});

test('a damaged file of pins is put aside and told of, and pins can be added anew', async () => {
  const world = await startPinned();
  await world.pinned('docker.io/acme/a');
  await world.app.stop();
  await writeFile(join(world.app.dataDirectory, 'pins.json'), '{"version":');
  await world.app.start(world.app.config);
  expect((await world.listed()).items).toEqual([]);
  expect(await readFile(join(world.app.dataDirectory, 'pins.damaged.json'), 'utf8')).toBe('{"version":');
  expect(world.app.logLines).toContainEqual(expect.objectContaining({ file: 'pins.damaged.json', level: 50 }));
  expect((await world.pinned('docker.io/acme/b')).status).toBe(200);
});

test('a disk that does not take the pins changes nothing', async () => {
  const files = new ScriptedFiles();
  const world = await startPinned({}, files);
  await world.pinned('docker.io/acme/a');
  files.failWith = ({ operation, path }) =>
    operation === 'rename' && path.endsWith('pins.json') ? 'ENOSPC' : undefined;
  expect(await world.pinned('docker.io/acme/b')).toMatchObject({ status: 503 });
  expect(await world.unpinned('docker.io/acme/a')).toMatchObject({ status: 503 });
  files.failWith = () => undefined;
  await world.app.restart();
  expect((await world.listed()).items).toMatchObject([{ pin: 'docker.io/acme/a' }]);
});

test('what is no pin is invalid, and without the token nothing is pinned', async () => {
  const { app, pinned } = await startPinned();
  for (const text of [
    '',
    'nginx',
    'docker.io/Library',
    'docker.io/a@sha256:x',
    'docker.io/*@sha256:x',
    'docker.io/a:-x',
  ])
    expect(await pinned(text)).toMatchObject({ status: 400 });
  const body = JSON.stringify({ pin: 'docker.io/acme/a' });
  expect((await askApi(app, '/api/v1/pins', { method: 'POST', headers, body })).status).toBe(401);
});

test('the commands pin, list and unpin', async () => {
  const { app, tokenFile } = await startPinned();
  const printed = { out: '', error: '' };
  const asking = {
    file: '/nowhere',
    env: {},
    server: app.managementUrl,
    tokenFile,
    json: false,
    print: (text: string) => void (printed.out += text),
    printError: (text: string) => void (printed.error += text),
  };
  const image = 'docker.io/library/nginx:1';
  expect(await pin({ ...asking, image })).toBe(0);
  expect(await pins(asking)).toBe(0);
  expect(await unpin({ ...asking, image })).toBe(0);
  expect(printed.out).toMatch(
    /nginx:1 is pinned\nPIN +SINCE\ndocker.io\/library\/nginx:1 +2030.*\n0 B pinned\n.* no more\n/,
  );
  expect(await unpin({ ...asking, image })).toBe(1);
  expect(printed.error).toContain('is not pinned');
});
