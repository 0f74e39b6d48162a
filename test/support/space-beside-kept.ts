import { setImmediate as nextTurn } from 'node:timers/promises';
import { blockBytes } from '../../src/mirror/ports/record-store.ts';
import type { Index } from '../../src/mirror/ports/store-index.ts';
import { Space } from '../../src/mirror/eviction/space.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { parseRepository } from '../../src/oci/reference.ts';
import { RecordingObserver } from '../unit/upstream/recording-observer.ts';
import { ManualClock } from './manual-clock.ts';
import { MemoryRecords } from './memory-records.ts';
import { noLooseRecords } from './no-loose-records.ts';

/** What `storage.keep` must say for the kept items. */
export const keptGlob = 'docker.io/kept/*';
/** What evicting one item frees: its block and that of its link. */
export const itemBytes = 2 * blockBytes;
const kept = { upstream: 'docker.io', repository: parseRepository('kept/app') };
const cold = { upstream: 'docker.io', repository: parseRepository('cold/app') };

/** Notes blobs that are kept, and after them blobs that may be evicted: by last use alone the kept ones would go first. */
export async function indexKeptAndVictims(
  index: Index,
  { keptItems, victims }: { readonly keptItems: number; readonly victims: number },
): Promise<void> {
  for (let number = 0; number < keptItems + victims; number += 1) {
    const digest = digestOf(Buffer.from(String(number)));
    const repositoryId = number < keptItems ? kept : cold;
    index.recordContent({ digest, size: blockBytes, isManifest: false, names: [], usedAtMs: number });
    index.recordLink({ repositoryId, kind: 'blob', digest, mediaType: undefined, size: blockBytes });
    if (number % 100 === 0) await nextTurn();
  }
  await index.totals();
}

/** The space of a store that is exactly full, and how much was removed from it. */
export async function fullSpace(index: Index): Promise<{ readonly space: Space; readonly removed: () => number }> {
  let removed = 0;
  index.fileBytes = async () => 0; // It changes with every write.
  const { diskBytes, records } = await index.totals();
  const space = new Space({
    index,
    records: new MemoryRecords(),
    loose: noLooseRecords,
    clock: new ManualClock(),
    observer: new RecordingObserver(),
    limits: { maxBytes: diskBytes + records * blockBytes, minFreeBytes: 0, maxFiles: 1e6 },
    unusedForMs: Infinity,
    onEvicted: () => {},
    store: {
      open: async () => undefined,
      remove: async () => {
        removed += 1;
      },
      isBeingRead: () => false,
      pendingBytes: () => 0,
      partialBytes: () => 0,
      pendingFiles: () => 0,
      freeSpace: async () => ({ bytes: 1e15 }),
      dropPartial: async () => 0,
    },
  });
  return { space, removed: () => removed };
}
