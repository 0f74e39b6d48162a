import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { SqliteIndex } from '../../../src/index/sqlite-index.ts';
import { Space } from '../../../src/mirror/space.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import { parseRepository } from '../../../src/oci/reference.ts';
import { longestTurnMs } from '../../support/longest-turn.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { MemoryRecords } from '../../support/memory-records.ts';
import { startCompleteIndex } from '../../support/sqlite-index.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';
import { RecordingObserver } from '../upstream/recording-observer.ts';

const kept = { upstream: 'docker.io', repository: parseRepository('kept/app') };
const cold = { upstream: 'docker.io', repository: parseRepository('cold/app') };
const keptItems = 50_000;
const victims = 200;
const sizeOfEach = 4096;

/** Older than everything that may go, in the order of eviction. */
async function noteAll(index: SqliteIndex): Promise<void> {
  for (let number = 0; number < keptItems + victims; number += 1) {
    const digest = digestOf(Buffer.from(String(number)));
    const of = number < keptItems ? kept : cold;
    index.noteContent({ digest, size: sizeOfEach, isManifest: false, names: [], usedAtMs: number });
    index.noteLink({ of, kind: 'blob', digest, mediaType: undefined, size: sizeOfEach });
    if (number % 100 === 0) await nextTurn();
  }
  await index.totals();
}

async function spaceBeside(index: SqliteIndex): Promise<{ readonly space: Space; readonly removed: () => number }> {
  let removed = 0;
  const { bytes } = await index.totals();
  const space = new Space({
    index,
    records: new MemoryRecords(),
    clock: new ManualClock(),
    observer: new RecordingObserver(),
    limits: { maxBytes: bytes, minFreeBytes: 0 },
    unusedForMs: Infinity,
    onEvicted: () => {},
    store: {
      remove: async () => {
        removed += 1;
      },
      isBeingRead: () => false,
      pendingBytes: () => 0,
      freeBytes: async () => 1e15,
      dropInterrupted: async () => 0,
    },
  });
  return { space, removed: () => removed };
}

test('a victim costs no more beside 50,000 kept items, and evicting holds nobody up', { timeout: 60_000 }, async () => {
  const { index } = await startCompleteIndex(await temporaryDirectory(), { keep: ['docker.io/kept/*'] });
  await noteAll(index);
  const { space, removed } = await spaceBeside(index);
  const cpuBefore = process.threadCpuUsage();
  const longestMs = await longestTurnMs(async () => {
    for (let number = 0; number < victims; number += 1) expect(await space.reserve(sizeOfEach)).toBeDefined();
  });
  const { user, system } = process.threadCpuUsage(cpuBefore);
  expect(removed()).toBe(victims);
  expect((user + system) / 1000 / victims).toBeLessThan(5);
  expect(longestMs).toBeLessThan(20);
  expect(await space.reserve(sizeOfEach)).toBeUndefined();
});
