import { expect, test } from 'vitest';
import { fileStores, preparedStores } from '../../support/file-stores.ts';
import { writeLargeStore } from '../../support/large-store.ts';
import { longestTurnMs } from '../../support/longest-turn.ts';
import { rebuild } from '../../support/rebuilds.ts';
import { startIndex } from '../../support/sqlite-index.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';

test('a rebuild finds 20,000 blobs without blocking the event loop for 50 ms', async () => {
  const kept = await preparedStores();
  writeLargeStore(kept.path, { images: 2000, layers: 9, repositories: 100 });
  const { index } = await startIndex(await temporaryDirectory());
  const longest = await longestTurnMs(async () => {
    expect(await rebuild(index, fileStores({ path: kept.path }))).toEqual([]);
  });
  expect(await index.totals()).toMatchObject({ manifests: 2000, blobs: 18_000 });
  expect(await index.evictable({ limit: 3000 })).toHaveLength(2000);
  expect(longest).toBeLessThan(150);
}, 120_000);
