import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { digestOf } from '../../../src/oci/digest.ts';
import { ociManifest } from '../../../src/oci/media-types.ts';
import { parseRepository, parseTag } from '../../../src/oci/reference.ts';
import { blobPath, recordPath } from '../../../src/storage/layout.ts';
import { fileStores, preparedStores } from '../../support/file-stores.ts';
import { longestTurnMs } from '../../support/longest-turn.ts';
import { rebuild } from '../../support/rebuilds.ts';
import { startIndex } from '../../support/sqlite-index.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';

test('a rebuild finds 20,000 blobs without blocking the event loop for 50 ms', async () => {
  const kept = await preparedStores();
  writeLargeStore(kept.path);
  const { index } = await startIndex(await temporaryDirectory());
  const longest = await longestTurnMs(async () => {
    expect(await rebuild(index, fileStores({ path: kept.path }))).toEqual([]);
  });
  expect(await index.totals()).toMatchObject({ manifests: 2000, blobs: 18_000 });
  expect(await index.evictable({ limit: 3000 })).toHaveLength(2000);
  expect(longest).toBeLessThan(150);
}, 120_000);

/** 2,000 images of a manifest and nine layers, written without caring for durability. */
function writeLargeStore(path: string): void {
  const folders = new Set<string>();
  const write = (file: string, bytes: string | Uint8Array): void => {
    const folder = dirname(join(path, file));
    if (!folders.has(folder)) mkdirSync(folder, { recursive: true });
    folders.add(folder);
    writeFileSync(join(path, file), bytes);
  };
  for (let number = 0; number < 2000; number += 1) {
    const repositoryId = { upstream: 'docker.io', repository: parseRepository(`app/${number % 100}`) };
    const blobs = Array.from({ length: 9 }, (_, layer) => Buffer.from(`layer ${layer} of image ${number}`));
    const layers = blobs.map((bytes) => ({ mediaType: 'x', digest: digestOf(bytes), size: bytes.byteLength }));
    const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, layers }));
    const digest = digestOf(manifest);
    const record = { mediaType: ociManifest, size: manifest.byteLength, firstServedAtMs: 1 };
    for (const bytes of [manifest, ...blobs]) write(blobPath(digestOf(bytes)), bytes);
    write(recordPath({ kind: 'manifest', repositoryId, digest }), JSON.stringify(record));
    for (const layer of layers) {
      write(
        recordPath({ kind: 'blob', repositoryId, digest: layer.digest }),
        JSON.stringify({ size: 1, firstServedAtMs: 1 }),
      );
    }
    const tag = JSON.stringify({ ...record, digest, confirmedAtMs: 1 });
    write(recordPath({ kind: 'tag', repositoryId, tag: parseTag(`v${number}`) }), tag);
  }
}
