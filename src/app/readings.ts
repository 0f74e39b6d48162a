import { timeLimited } from '../mirror/concurrency/abortable-wait.ts';
import type { Config } from '../config/schema.ts';
import type { AssembledMirror } from '../mirror/mirror-parts.ts';
import type { PinnedContent } from '../mirror/eviction/eviction.ts';
import type { Clock } from '../mirror/ports/clock.ts';
import type { Index } from '../mirror/ports/store-index.ts';
import type { StoreReadings } from '../telemetry/readouts.ts';
import type { SharedStorage } from './bucket/shared-storage.ts';
import type { Stores } from './stores.ts';

/** How long a scrape or a probe waits for the disk. */
const readWithinMs = 1_000;
const unknownUse = { bytes: Number.NaN, files: Number.NaN };
const unknownTotals = { bytes: Number.NaN, manifestBytes: Number.NaN, manifests: Number.NaN, blobs: Number.NaN };

/** How often the least recently used content is looked up. */
const lookUpOldestEveryMs = 60_000;

export interface ReadingsDeps {
  readonly stores: Pick<Stores, 'index' | 'store' | 'scrubbing'>;
  readonly mirror: Pick<AssembledMirror, 'use'>;
  readonly sharedStorage: Pick<SharedStorage, 'uploadsQueued' | 'swept'>;
  readonly pins: Pick<PinnedContent, 'isKnown'>;
  readonly clock: Clock;
}

/**
 * What metrics and probes read from the store. Each resolves within a second: NaN for what is not known by then, except that `freeBytes`
 * rejects, with Slow or the disk's own error.
 */
export function readingsOf({ storage }: Pick<Config, 'storage'>, deps: ReadingsDeps): StoreReadings {
  const { stores, mirror, sharedStorage, pins, clock } = deps;
  const { index, store, scrubbing } = stores;
  const { maxBytes, maxFiles, scrubEveryMs } = storage;
  const totals = sharedWithin(readWithinMs, () => index.totals());
  const use = sharedWithin(readWithinMs, () => mirror.use());
  const space = sharedWithin(readWithinMs, () => store.freeSpace());
  const oldestUse = rarely(
    { everyMs: lookUpOldestEveryMs, clock },
    sharedWithin(readWithinMs, () => oldestUseOf(index)),
  );
  return {
    totals: () => totals().catch(() => unknownTotals),
    use: () => use().catch(() => unknownUse),
    freeBytes: async () => (await space()).bytes,
    diskBytes: async () => (await space()).sizeBytes ?? Number.NaN,
    pendingBytes: () => store.pendingBytes(),
    quarantinedFiles: () => store.quarantinedFiles(),
    maxBytes,
    maxFiles,
    scrubEveryMs,
    scrubTimes: () => scrubbing.times,
    oldestUseMs: () => oldestUse().catch(() => Number.NaN),
    isIndexComplete: () => !index.needsRebuild,
    arePinsKnown: () => pins.isKnown,
    uploadsQueued: sharedStorage.uploadsQueued,
    swept: sharedStorage.swept,
  };
}

async function oldestUseOf(index: Pick<Index, 'evictable'>): Promise<number> {
  const [oldest] = await index.evictable({ limit: 1 });
  return oldest?.usedAtMs ?? Number.NaN;
}

/** Keeps a result for a while; a failure is not kept. */
function rarely<Result>(
  { everyMs, clock }: { readonly everyMs: number; readonly clock: Pick<Clock, 'monotonicMs'> },
  read: () => Promise<Result>,
): () => Promise<Result> {
  let known: { readonly result: Result; readonly untilMs: number } | undefined;
  return async () => {
    if (!known || clock.monotonicMs() >= known.untilMs) {
      known = { result: await read(), untilMs: clock.monotonicMs() + everyMs };
    }
    return known.result;
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
