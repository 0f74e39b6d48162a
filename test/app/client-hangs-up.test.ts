import { expect, test } from 'vitest';
import { type FileSystem, nodeFiles, type OpenFile } from '../../src/storage/filesystem/file-system.ts';
import { ask, caughtUp, open } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { startHolding } from '../support/held-blob.ts';
import { image, randomBlob } from '../support/images.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const blobs = /\/blobs\//;

test('a client that hangs up does not affect the others: they get the whole of the same download', async () => {
  const { upstream, app, blob, path, held: half } = await startHolding(2_000_000, { bytes: 1_000_000 });
  const first = await open(app, path);
  const second = await open(app, path);
  const start = await second.read(500_000);
  await first.read(1);
  first.hangUp();
  half.open();
  expect(Buffer.concat([start, await second.rest()]).equals(blob.bytes)).toBe(true);
  expect(upstream.count('GET', blobs)).toBe(1);
});

test('the client that started a download may hang up before the upstream answers: those that joined get the whole blob', async () => {
  const { upstream, app, blob, path, held: answering } = await startHolding(200_000, 'nothing');
  const leaving = new AbortController();
  const first = fetch(`${app.url}${path}`, { signal: leaving.signal });
  await upstream.arrived('GET', blobs);
  const second = ask(app, path);
  leaving.abort();
  await expect(first).rejects.toThrow('aborted');
  answering.open();
  expect((await second).body.equals(blob.bytes)).toBe(true);
  expect(upstream.count('GET', blobs)).toBe(1);
});

test('one of several clients that wait for a tag may hang up: the others are answered by the same upstream request', async () => {
  const upstream = await startFakeRegistry();
  const held = image();
  upstream.content.add(repository, '1', held);
  const answering = gate();
  upstream.script({ path: /\/manifests\// }, { holdHeaders: answering });
  const app = await startApp(mirrorOf(upstream));
  const path = `/v2/${repository}/manifests/1`;
  const leaving = new AbortController();
  const first = fetch(`${app.url}${path}`, { signal: leaving.signal });
  await upstream.arrived('GET', /\/manifests\//);
  const second = ask(app, path);
  await caughtUp(app);
  leaving.abort();
  await expect(first).rejects.toThrow('aborted');
  await caughtUp(app);
  answering.open();
  expect((await second).body.equals(held.manifest.bytes)).toBe(true);
  expect(upstream.count()).toBe(1);
});

test('a response whose client left is counted as aborted, and is no failure of the mirror', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(32_000_000); // More than the buffers of two sockets hold.
  upstream.content.addBlob(repository, blob);
  const app = await startApp(mirrorOf(upstream));
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  await ask(app, path);
  const leaver = await open(app, path);
  await leaver.read(1);
  leaver.hangUp();
  await expect
    .poll(async () => (await app.metrics()).sum('layerwell_http_client_aborts_total', { kind: 'blob' }))
    .toBe(1);
  expect((await app.metrics()).sum('layerwell_internal_errors_total')).toBe(0);
  expect(app.logLines.filter(({ level }) => Number(level) > 30)).toEqual([]);
});

test.each([1, 3])(
  'a client that hangs up during read %i of a stored blob is no failure of the disk: the next one is served from it',
  async (held) => {
    const upstream = await startFakeRegistry();
    const blob = randomBlob(8_000_000);
    upstream.content.addBlob(repository, blob);
    const disk = heldReads(held);
    const app = await startApp(mirrorOf(upstream), { files: disk.files });
    const path = `/v2/${repository}/blobs/${blob.digest}`;
    await ask(app, path);
    await app.quiet();
    disk.begin();
    const leaving = new AbortController();
    const left = fetch(`${app.url}${path}`, { signal: leaving.signal }).then((answer) => answer.arrayBuffer());
    left.catch(() => {});
    await disk.reached;
    leaving.abort();
    await expect(left).rejects.toThrow('aborted');
    const aborts = async () => (await app.metrics()).sum('layerwell_http_client_aborts_total', { kind: 'blob' });
    await expect.poll(aborts).toBe(1);
    disk.open();

    expect((await ask(app, path)).body.equals(blob.bytes)).toBe(true);
    expect(upstream.count('GET', blobs)).toBe(1);
    expect((await app.metrics()).sum('layerwell_internal_errors_total')).toBe(0);
    expect(app.logLines.filter(({ level }) => Number(level) > 30)).toEqual([]);
  },
);

/** A disk that reads, and does not return from the nth read after `begin` until `open`. */
function heldReads(nth: number): { files: FileSystem; begin: () => void; reached: Promise<void>; open: () => void } {
  const [reached, opened] = [gate(), gate()];
  let left = Infinity;
  const held = (file: OpenFile): OpenFile => ({
    ...file,
    read: async (into, position) => {
      const bytes = await file.read(into, position);
      left -= 1;
      if (left !== 0) return bytes;
      reached.open();
      await opened.opened;
      return bytes;
    },
  });
  return {
    files: { ...nodeFiles, open: async (path, use) => held(await nodeFiles.open(path, use)) },
    begin: () => (left = nth),
    reached: reached.opened,
    open: () => opened.open(),
  };
}
