import { globSync } from 'node:fs';
import { expect, test } from 'vitest';
import { hexOf } from '../../src/oci/digest.ts';
import { gate } from '../support/gate.ts';
import { image } from '../support/images.ts';
import { pullManifest } from '../support/pull.ts';
import { nginx, startPurging } from '../support/purging.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';

/** Each has a link to its manifest, two to blobs, and a tag: more records than are removed at the same time. */
const images = Array.from({ length: 6 }, (_, number) => image({ name: `image ${number}` }));

test('a tag that is pulled while its repository is purged can be pulled afterwards with the upstream down', async () => {
  const files = new ScriptedFiles();
  const { app, hub, publishAndPull, purged } = await startPurging(files);
  for (const [number, built] of images.entries()) await publishAndPull(nginx, `${number}`, built);
  const disk = gate();
  files.before = async ({ operation, path }) => {
    if (operation === 'unlink' && path.includes('_blobs')) await disk.opened;
  };
  const purging = purged({ repository: `docker.io/${nginx}` });
  const left = () => globSync('repositories/**/_manifests/**/*.json', { cwd: app.dataDirectory }).join();
  const gone = () => images.findIndex(({ manifest }) => !left().includes(hexOf(manifest.digest)));
  await expect.poll(gone).not.toBe(-1);
  const tag = `${gone()}`;

  await pullManifest(app, nginx, tag);
  disk.open();
  await purging;
  await hub.stop();
  await app.restart();
  await pullManifest(app, nginx, tag);
});
