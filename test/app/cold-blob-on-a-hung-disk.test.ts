import { expect, test, vi } from 'vitest';
import { DurableFolders } from '../../src/storage/filesystem/durable-folders.ts';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image } from '../support/images.ts';
import { type FileCall, ScriptedFiles } from '../support/scripted-files.ts';
import { startApp } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const built = image({ layerBytes: 500_000 });
const layer = built.blobs[1] ?? built.manifest;
const blobPath = `/v2/${repository}/blobs/${layer.digest}`;

test('a cold blob is served at once while the index of a new store is saved on a disk that hangs', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', built);
  const [hung, recovered] = [gate(), gate()];
  let syncs = 0;
  const sync = async () => {
    syncs += 1;
    if (syncs !== 2) return; // Before it nothing waits, and after it writes to the index do.
    hung.open();
    await recovered.opened;
  };
  const opening = vi.spyOn(DurableFolders.prototype, 'openForSync').mockResolvedValue({ sync, close: async () => {} });
  try {
    const app = await startApp(mirrorOf(upstream));
    await hung.opened;
    expect((await ask(app, blobPath)).body.equals(layer.bytes)).toBe(true);
  } finally {
    recovered.open();
    opening.mockRestore();
  }
});

/** A mirror whose disk answers none of these calls once it has started. */
async function onHungDisk(hangs: (call: FileCall) => boolean, more: MirrorConfig = {}) {
  const upstream = await startFakeRegistry();
  const files = new ScriptedFiles();
  const app = await startApp(mirrorOf(upstream, more), { files });
  const recovered = gate();
  files.before = async (call) => {
    if (hangs(call)) await recovered.opened;
  };
  return { app, upstream, recovered };
}

const isIncoming = ({ path }: FileCall): boolean => path.includes('/incoming/');

/** The first after 5 s, others at once. */
async function servedWithoutStoring(hangs: (call: FileCall) => boolean): Promise<void> {
  const { app, upstream, recovered } = await onHungDisk(hangs);
  upstream.content.add(repository, '1', built);
  expect((await ask(app, blobPath)).body.equals(layer.bytes)).toBe(true);
  const askedAtMs = performance.now();
  expect((await ask(app, blobPath)).body.equals(layer.bytes)).toBe(true);
  expect(performance.now() - askedAtMs).toBeLessThan(4_000);
  recovered.open();
  await expect.poll(async () => (await ask(app, blobPath)).headers['cache-status']).toContain('hit');
}

/** They wait for a slot for 5 s at most. */
async function moreServedThanSlots(hangs: (call: FileCall) => boolean): Promise<void> {
  const { app, upstream, recovered } = await onHungDisk(hangs, { download: { maxConcurrent: 8 } });
  const images = Array.from({ length: 12 }, (_, nth) => image({ layerBytes: 80_000 + nth }));
  for (const [nth, one] of images.entries()) upstream.content.add(repository, `${nth}`, one);
  const pulls = images.map(async ({ blobs: [, blob] }) => {
    const answer = await ask(app, `/v2/${repository}/blobs/${blob?.digest}`);
    return blob !== undefined && answer.body.equals(blob.bytes);
  });
  expect(new Set(await Promise.all(pulls))).toEqual(new Set([true]));
  recovered.open();
}

test('cold blobs are served while the disk makes no file, ends no write, does not tell its free space, or ends no sync', async () => {
  const served = Promise.all([
    servedWithoutStoring((call) => call.operation === 'open' && isIncoming(call)),
    servedWithoutStoring((call) => call.operation === 'write' && isIncoming(call)),
    servedWithoutStoring(({ operation }) => operation === 'freeSpace'),
    moreServedThanSlots(({ operation }) => operation === 'sync'),
  ]);
  await expect(served).resolves.toHaveLength(4);
});
