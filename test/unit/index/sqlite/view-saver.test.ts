import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import type { StoreChanges } from '../../../../src/index/look-again.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { nodeFiles } from '../../../../src/storage/filesystem/file-system.ts';
import { type Gate, gate } from '../../../support/gate.ts';
import { type Dice, dice } from '../../../support/power-loss-disk.ts';
import { type IndexBytes, PowerLossIndex, writeIndex } from '../../../support/power-loss-index.ts';
import { indexAt, never, startCompleteIndex, startIndex } from '../../../support/sqlite-index.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

const digests = Array.from({ length: 2_000 }, (_, number) => digestOf(Buffer.from(`content ${number}`)));
const repository = parseRepository('library/app');
const contentOf = (digest: (typeof digests)[number]) => {
  return { digest, size: 1, isManifest: false, names: [], usedAtMs: 1 };
};

/** A journal in which nothing is noted but removals, each when `noted` resolves. */
function journal(noted: Promise<void> = Promise.resolve()): StoreChanges {
  return {
    current: 1,
    hasNotes: false,
    oldestNeeded: 1,
    changedSince: async () => ({ contents: [], records: [] }),
    beginRemoval: () => ({ noted, [Symbol.dispose]: () => {} }),
    settle: async () => {},
    rotate: async () => {},
    dropBefore: async () => {},
  };
}

/** @returns how many contents an index knows after a power failure; undefined if it says that it must be rebuilt. */
async function knownIn(left: IndexBytes): Promise<number | undefined> {
  const directory = await temporaryDirectory();
  writeIndex(join(directory, 'index.sqlite'), left);
  const { index } = indexAt(directory, { changes: journal() });
  await index.start();
  try {
    if (!index.changed && index.needsRebuild) return undefined;
    return (await index.evictable({ limit: 2 * digests.length })).length;
  } finally {
    await index.stop();
  }
}

test('power that fails at any sync of the first save after a rebuild leaves all of the index, or one that is rebuilt', async () => {
  const directory = await temporaryDirectory();
  const disk = new PowerLossIndex(join(directory, 'index.sqlite'));
  const left: IndexBytes[] = [];
  const fates: readonly Dice[] = [() => 0.9, ...['a', 'b'].map(dice)];
  const files = disk.over(nodeFiles, () => left.push(...fates.map((fate) => disk.afterPowerLoss(fate))));
  const { index, failures } = await startIndex(directory, { files, changes: journal() });
  disk.allSynced();
  for (const digest of digests) {
    index.recordStoredContent(contentOf(digest));
    index.recordLink({
      repositoryId: { upstream: 'docker.io', repository },
      kind: 'blob',
      digest,
      mediaType: undefined,
      size: 1,
    });
  }
  await index.completeRebuild({ signal: never });
  left.push(...fates.map((fate) => disk.afterPowerLoss(fate)));

  expect(failures).toEqual([]);
  const known: (number | undefined)[] = [];
  for (const bytes of left) known.push(await knownIn(bytes));
  expect(new Set(known)).toEqual(new Set([undefined, digests.length]));
  expect(known.at(-1)).toBe(digests.length);
});

test('a removal whose note takes longer than the index needs to begin a save waits until it is saved', async () => {
  const directory = await temporaryDirectory();
  const [noted, synced] = [gate(), gate()];
  const syncs: Gate[] = [];
  const log = join(directory, 'index.sqlite-wal');
  const files = {
    ...nodeFiles,
    open: async (...[path, use]: Parameters<typeof nodeFiles.open>) => {
      const file = await nodeFiles.open(path, use);
      const sync = async () => {
        syncs.push(gate());
        if (isHeld && syncs.length === 2) await synced.opened;
      };
      return path === log ? { ...file, sync } : file;
    },
    stat: async (path: string) => ({
      ...(await nodeFiles.stat(path)),
      ...(path === log && isHeld && { size: 2 ** 30 }),
    }),
  };
  let isHeld = false;
  const { index } = await startCompleteIndex(directory, { files, changes: journal(noted.opened) });
  for (const digest of digests.slice(0, 40)) index.recordContent(contentOf(digest));
  await index.settled();

  [isHeld, syncs.length] = [true, 0];
  const removed = index.forget(digests[0]!);
  for (const digest of digests.slice(40, 100)) index.recordContent(contentOf(digest));
  await index.settled();
  await vi.waitUntil(() => syncs.length === 2);
  const { size, mtimeMs } = await stat(log);
  noted.open();
  for (let turn = 0; turn < 20; turn += 1) await nextTurn();
  expect(await stat(log)).toMatchObject({ size, mtimeMs });
  synced.open();
  await removed;
  expect(await index.totals()).toMatchObject({ blobs: 99 });
});
