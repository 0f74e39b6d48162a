import { join } from 'node:path';
import { expect, test } from 'vitest';
import { blobPath } from '../../src/storage/layout.ts';
import { ask, open } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { randomBlob } from '../support/images.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const mebibyte = 1024 * 1024;
const clients = 10;

/** A cached blob of 4 MiB, whose next first read waits until all clients have opened it. */
async function startWithBlob() {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(4 * mebibyte);
  upstream.content.addBlob('library/app', blob);
  const files = new ScriptedFiles();
  const app = await startApp(mirrorOf(upstream, { storage: { scrubEvery: 'forever' } }), { files });
  const path = `/v2/library/app/blobs/${blob.digest}`;
  await ask(app, path);
  await app.quiet();
  upstream.forgetRequests();
  const file = join(app.dataDirectory, blobPath(blob.digest));
  files.calls.length = 0;
  const count = (operation: string) => files.calls.filter((call) => call.operation === operation && call.path === file);
  const disk = gate();
  files.before = (call) => (call.operation === 'read' && call.path === file ? disk.opened : Promise.resolve());
  const openDisk = async () => {
    await expect.poll(() => count('fstat').length, { timeout: 10_000 }).toBe(clients);
    disk.open();
  };
  return { upstream, app, blob, path, file, files, reads: () => count('read').length, openDisk };
}

test('ten clients of a cached blob cost one read of each of its pieces, and all get the right bytes', async () => {
  const { app, blob, path, reads, openDisk } = await startWithBlob();
  const asking = Array.from({ length: clients }, () => ask(app, path));
  await openDisk();
  for (const { body } of await Promise.all(asking)) expect(body.equals(blob.bytes)).toBe(true);
  expect(reads()).toBeLessThanOrEqual(8);
});

test('a client that hangs up while its read serves others takes nothing from them', async () => {
  const { app, blob, path, openDisk } = await startWithBlob();
  const leaving = open(app, path).catch(() => undefined);
  const asking = Array.from({ length: clients - 1 }, () => ask(app, path));
  await openDisk();
  (await leaving)?.hangUp();
  for (const { body } of await Promise.all(asking)) expect(body.equals(blob.bytes)).toBe(true);
});

test('when the disk fails, every client that shares the read is cut, and the next pull comes from the upstream', async () => {
  const { upstream, app, blob, path, file, files, openDisk } = await startWithBlob();
  let reads = 0;
  files.failWith = (call) => {
    if (call.path !== file || call.operation !== 'read') return undefined;
    reads += 1;
    return reads > 2 ? 'EIO' : undefined;
  };
  const asking = Array.from({ length: clients }, () => ask(app, path).catch(() => 'cut'));
  await openDisk();
  expect(await Promise.all(asking)).toEqual(Array.from({ length: clients }, () => 'cut'));
  files.failWith = () => undefined;
  expect((await ask(app, path)).body.equals(blob.bytes)).toBe(true);
  expect(upstream.count()).toBeGreaterThan(0);
});

test('ten clients that join a download behind its writer share what they read back', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(8 * mebibyte);
  upstream.content.addBlob('library/app', blob);
  const rest = gate();
  upstream.script({ path: /blobs/ }, { holdBody: { afterBytes: 7 * mebibyte, until: rest } });
  const files = new ScriptedFiles();
  const app = await startApp(mirrorOf(upstream, { storage: { scrubEvery: 'forever' } }), { files });
  const path = `/v2/library/app/blobs/${blob.digest}`;
  const first = await open(app, path);
  await first.read(6 * mebibyte);
  const asking = Array.from({ length: clients }, () => ask(app, path));
  const joined = async () => (await app.metrics()).sum('layerwell_cache_collapsed_requests_total');
  await expect.poll(joined, { timeout: 10_000 }).toBe(clients);
  rest.open();
  for (const { body } of await Promise.all(asking)) expect(body.equals(blob.bytes)).toBe(true);
  await first.rest();
  expect(files.calls.filter(({ operation }) => operation === 'read').length).toBeLessThanOrEqual(30);
});
