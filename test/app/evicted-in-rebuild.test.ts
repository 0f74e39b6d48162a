import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { imageOver, kib, layer, started } from '../support/bounded-store.ts';
import { holdRebuild } from '../support/held-rebuild.ts';
import { differences } from '../support/index-and-disk.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { storeOnDisk } from '../support/store-on-disk.ts';

test('an image that is evicted while the index is being rebuilt leaves no link behind', async () => {
  const files = new ScriptedFiles();
  const { app, publish, pull } = await started({ maxSize: `${1500 * kib}B` }, files);
  publish('old/app', imageOver('old', layer('old', 1000 * kib)));
  publish('new/app', imageOver('new', layer('new', 600 * kib)));
  await pull('old/app');
  await app.stop();
  await rm(join(app.dataDirectory, 'index.sqlite'));

  const { held, records } = holdRebuild(files);
  await app.restart();
  await held;
  await pull('new/app');
  const linksWithoutContent = async () => {
    const { blobs, records: found } = await storeOnDisk(app.dataDirectory);
    return found.filter((key) => (key.kind === 'blob' || key.kind === 'manifest') && !blobs.has(key.digest));
  };
  expect(await linksWithoutContent()).not.toEqual([]); // The index does not know of them yet.
  records.open();
  await expect.poll(linksWithoutContent).toEqual([]);
  await app.stop();
  expect(await differences(app.dataDirectory)).toEqual([]);
});
