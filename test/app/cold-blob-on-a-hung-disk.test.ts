import { expect, test, vi } from 'vitest';
import { DurableFolders } from '../../src/storage/filesystem/durable-folders.ts';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image } from '../support/images.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

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
