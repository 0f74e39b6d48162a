import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { type Digest, digestOf } from '../../../src/oci/digest.ts';
import { ociManifest } from '../../../src/oci/media-types.ts';
import { parseRepository } from '../../../src/oci/reference.ts';
import { startCompleteIndex } from '../../support/sqlite-index.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';

const layer = digestOf(Buffer.from('layer'));
const manifest = digestOf(Buffer.from('manifest'));
const repositoryId = { upstream: 'docker.io', repository: parseRepository('library/alpine') };
const everything = { limit: 1000 };
const mebi = 1024 * 1024;

test('the index reports the size of its files', async () => {
  const directory = await temporaryDirectory();
  const { index } = await startCompleteIndex(directory);
  const names = Array.from({ length: 2_000 }, (_, number): Digest => digestOf(Buffer.from(`child ${number}`)));
  index.recordContent({ digest: manifest, size: 1, isManifest: true, names, usedAtMs: 2 });
  await index.settled();
  const files = await readdir(directory);
  const sizes = await Promise.all(files.map(async (file) => (await stat(join(directory, file))).size));
  expect(await index.fileBytes()).toBe(sizes.reduce((sum, size) => sum + size, 0));
  expect(await index.fileBytes()).toBeGreaterThan(2_000 * 32);
});

test('the index file shrinks again when the manifests that filled it are gone', async () => {
  const directory = await temporaryDirectory();
  const { index } = await startCompleteIndex(directory);
  const manifests = Array.from({ length: 30 }, (_, number) => digestOf(Buffer.from(`manifest ${number}`)));
  for (const digest of manifests) {
    const names = Array.from({ length: 1_000 }, (_, number) => digestOf(Buffer.from(`${digest} ${number}`)));
    index.recordContent({ digest, size: 1, isManifest: true, names, usedAtMs: 2 });
  }
  await index.settled();
  expect(await index.fileBytes()).toBeGreaterThan(30_000 * 2 * 64);
  for (const digest of manifests) await index.forget(digest);
  await vi.waitUntil(async () => (await index.fileBytes()) < 8 * 1024 * 1024 && !(await isLong(directory)), {
    timeout: 20_000,
  });
});

test('the write-ahead log of many removals is emptied, and until then what it has beyond 4 MiB does not count', async () => {
  const directory = await temporaryDirectory();
  const { index } = await startCompleteIndex(directory);
  const digests = Array.from({ length: 2_000 }, (_, number) => digestOf(Buffer.from(`blob ${number}`)));
  for (const digest of digests) {
    index.recordContent({ digest, size: 1, isManifest: false, names: [], usedAtMs: 2 });
    index.recordLink({ repositoryId, kind: 'blob', digest, mediaType: undefined, size: 1 });
  }
  await index.settled();
  for (const digest of digests) {
    await index.forget(digest);
    expect(await index.fileBytes()).toBeLessThanOrEqual(4 * mebi + 2 * (await sizeOf(directory, '')));
  }
  await vi.waitUntil(async () => (await sizeOf(directory, '-wal')) < 4 * mebi, { timeout: 20_000 });
});

async function sizeOf(directory: string, suffix: string): Promise<number> {
  return (await stat(join(directory, `index.sqlite${suffix}`))).size;
}

/** Whether the file without its log has more than 1.5 MiB. */
async function isLong(directory: string): Promise<boolean> {
  return (await sizeOf(directory, '')) > 1.5 * 1024 * 1024;
}

test('a query does not wait for the digests of other manifests to be written', async () => {
  const { index } = await startCompleteIndex(await temporaryDirectory());
  const named = Array.from({ length: 40 }, (_, number) => {
    const digest = digestOf(Buffer.from(`manifest ${number}`));
    const names = [layer, ...Array.from({ length: 999 }, (__, child) => digestOf(Buffer.from(`${number} ${child}`)))];
    return { digest, size: 1, isManifest: true, names, usedAtMs: 2 };
  });
  index.recordContent({ digest: layer, size: 10, isManifest: false, names: [], usedAtMs: 1 });
  index.recordLink({
    repositoryId: { ...repositoryId, repository: parseRepository('other') },
    kind: 'blob',
    digest: layer,
    mediaType: ociManifest,
    size: 10,
  });
  for (const content of named) {
    index.recordContent(content);
    index.recordLink({ repositoryId, kind: 'manifest', digest: content.digest, mediaType: ociManifest, size: 1 });
  }
  const startedAtMs = performance.now();
  expect(await index.borrowableLinks(repositoryId, layer, 'blob')).toMatchObject([{ digest: layer, size: 10 }]);
  expect(await index.totals()).toMatchObject({ manifests: 40, blobs: 1 });
  const evictable = await index.evictable(everything);
  expect(performance.now() - startedAtMs).toBeLessThan(200);
  expect(evictable.map(({ digest }) => digest).toSorted()).toEqual(named.map(({ digest }) => digest).toSorted());
  await index.settled();
  expect(await index.evictable(everything)).toHaveLength(40);
});

test('digests beyond the memory limit are dropped, and everything else is kept', async () => {
  const { index } = await startCompleteIndex(await temporaryDirectory());
  for (let number = 0; number < 60; number += 1) {
    const names = Array.from({ length: 1_000 }, (_, child) => digestOf(Buffer.from(`${number} ${child}`)));
    index.recordContent({ digest: names[0] ?? layer, size: 5, isManifest: false, names: [], usedAtMs: 1 });
    const digest = digestOf(Buffer.from(`manifest ${number}`));
    index.recordContent({ digest, size: 1, isManifest: true, names, usedAtMs: 2 });
  }
  await index.settled();
  expect(await index.totals()).toMatchObject({ bytes: 60 * 6, manifests: 60, blobs: 60 });
  expect(await index.evictable(everything)).toHaveLength(60 + 10);
});
