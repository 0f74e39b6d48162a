import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { lookAgain, type RecoverableIndex, type StoreChanges } from '../../../src/index/look-again.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import { idleRebuild } from '../../support/idle-rebuild.ts';
import { indexAt, never, startCompleteIndex } from '../../support/sqlite-index.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';

const digests = Array.from({ length: 100 }, (_, number) => digestOf(Buffer.from(`content ${number}`)));

/** An index that notes each removal in several turns of the event loop. @returns how many it noted at the same time. */
function slowIndex() {
  let [running, most] = [0, 0];
  const forgotten: string[] = [];
  const index: RecoverableIndex = {
    needsRebuild: true,
    ...idleRebuild,
    completeRebuild: async () => {},
    forgetMissing: async (digest) => {
      running += 1;
      most = Math.max(most, running);
      await nextTurn();
      running -= 1;
      forgotten.push(digest);
      return [];
    },
  };
  return { index, forgotten, most: () => most };
}

/** A journal in which removals are counted. @param settled whether an index can be closed for good. */
function countingJournal({ settled = true } = {}) {
  let noted = 0;
  const changes: StoreChanges = {
    current: 1,
    hasNotes: false,
    oldestNeeded: 1,
    changedSince: async () => ({ contents: [], records: [] }),
    beginRemoval: () => {
      noted += 1;
      return { noted: Promise.resolve(), [Symbol.dispose]: () => {} };
    },
    settle: async () => {
      if (!settled) throw new Error('the process is killed');
    },
    rotate: async () => {},
    dropBefore: async () => {},
  };
  return { changes, noted: () => noted };
}

test('contents that are gone after a crash are forgotten many at a time, so that they share the syncs of the journal', async () => {
  const { index, forgotten, most } = slowIndex();
  await lookAgain(
    { contents: digests, records: [] },
    {
      index,
      store: { async *list() {}, readAll: async () => undefined, statusOf: async () => undefined },
      records: { async *list() {}, read: async () => undefined, remove: async () => {} },
      observer: { internalError: () => {} },
      signal: never,
    },
  );
  expect(forgotten.toSorted()).toEqual(digests.toSorted());
  expect(most()).toBeGreaterThanOrEqual(8);
});

test('content whose eviction had ended before a crash is not noted again: only what the index still has is', async () => {
  const directory = await temporaryDirectory();
  const [known, evicted] = ['known', 'evicted'].map((name) => digestOf(Buffer.from(name)));
  if (!known || !evicted) throw new Error('there are two');
  const former = await startCompleteIndex(directory, { changes: countingJournal({ settled: false }).changes });
  former.index.recordContent({ digest: known, size: 1, isManifest: false, names: [], usedAtMs: 1 });
  await former.index.stop();
  const { changes, noted } = countingJournal();
  const { index } = indexAt(directory, { changes });
  await index.start();
  try {
    expect(await index.hasContent(known)).toBe(true);
    await index.forgetMissing(evicted);
    expect(noted()).toBe(0);
    await index.forgetMissing(known);
    expect(noted()).toBe(1);
    expect(await index.hasContent(known)).toBe(false);
  } finally {
    await index.stop();
  }
});
