import { expect, test } from 'vitest';
import { digestOf } from '../../../../src/oci/digest.ts';
import { never, startIndex } from '../../../support/sqlite-index.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

const [old, recent] = ['old', 'recent'].map((text) => digestOf(Buffer.from(text)));

async function countedIndex(keep: readonly string[] = []) {
  const { index } = await startIndex(await temporaryDirectory(), { keep });
  index.beginRebuild();
  for (const [at, digest] of [old!, recent!].entries())
    index.recordStoredContent({ digest, size: 1, isManifest: false, names: [], usedAtMs: at });
  expect(await index.knowsEvictable()).toBe(false);
  await index.endCounting();
  return index;
}

test('while it is rebuilt, the least recent of what was seen is evicted, and is not seen again', async () => {
  const index = await countedIndex();
  expect(await index.knowsEvictable()).toBe(true);
  expect(await index.evictable({ limit: 1 })).toMatchObject([{ digest: old }]);
  await index.forget(old!);
  index.recordStoredContent({ digest: old!, size: 1, isManifest: true, names: [], usedAtMs: 3 });
  expect(await index.totals()).toMatchObject({ manifests: 0, blobs: 1 });
  index.recordContent({ digest: old!, size: 1, isManifest: true, names: [], usedAtMs: 3 });
  await index.completeRebuild({ signal: never });
  expect(await index.totals()).toMatchObject({ manifests: 1 });
});

test('while it is rebuilt, nothing is evicted that storage.keep may name', async () => {
  const index = await countedIndex(['docker.io/library/*']);
  expect(await index.knowsEvictable()).toBe(false);
});
