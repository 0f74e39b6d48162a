import { timeLimited } from '../mirror/concurrency/abortable-wait.ts';
import type { AssembledMirror } from '../mirror/mirror-parts.ts';
import type { Readings } from '../telemetry/instruments.ts';
import type { SharedStorage } from './bucket/shared-storage.ts';
import type { Stores } from './stores.ts';

/** How long a scrape or a probe waits for the disk. */
const readWithinMs = 1_000;
const unknownUse = { bytes: Number.NaN, files: Number.NaN };
const unknownTotals = { bytes: Number.NaN, manifests: Number.NaN, blobs: Number.NaN };

export type StoreReadings = Pick<Readings, 'totals' | 'freeBytes' | 'pendingBytes' | 'use' | 'uploadsQueued' | 'swept'>;

/**
 * What metrics and probes read from the store. Each resolves within a second: NaN for what is not known by then, except that `freeBytes`
 * rejects, with Slow or the disk's own error.
 */
export function readingsOf(
  { index, store }: Stores,
  mirror: Pick<AssembledMirror, 'use'>,
  sharedStorage: Pick<SharedStorage, 'uploadsQueued' | 'swept'>,
): StoreReadings {
  const totals = sharedWithin(readWithinMs, () => index.totals());
  const use = sharedWithin(readWithinMs, () => mirror.use());
  return {
    totals: () => totals().catch(() => unknownTotals),
    use: () => use().catch(() => unknownUse),
    freeBytes: sharedWithin(readWithinMs, async () => (await store.freeSpace()).bytes),
    pendingBytes: () => store.pendingBytes(),
    uploadsQueued: sharedStorage.uploadsQueued,
    swept: sharedStorage.swept,
  };
}

/** No answer came in time; the work may still be running. */
export class Slow extends Error {
  override readonly name = 'Slow';
  readonly code = 'slow';

  constructor() {
    super('no answer came in time');
  }
}

/**
 * Limits how long callers wait for a read that may hang. Callers at the same time share one call of `read`, so that calls cannot pile up
 * while the disk hangs.
 * @returns a function that rejects with Slow when there is no result within `withinMs`.
 */
function sharedWithin<Result>(withinMs: number, read: () => Promise<Result>): () => Promise<Result> {
  let running: Promise<Result> | undefined;
  return () => {
    running ??= read().finally(() => {
      running = undefined;
    });
    return timeLimited(running, withinMs, () => new Slow());
  };
}
