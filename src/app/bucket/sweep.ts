import { setTimeout as sleep } from 'node:timers/promises';
import { rebuildIndex } from '../../index/rebuild.ts';
import { SqliteIndex, type SqliteIndexDeps } from '../../index/sqlite/sqlite-index.ts';
import { Space } from '../../mirror/eviction/space.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { abortable } from '../../mirror/concurrency/abortable-wait.ts';
import type { BucketStorage } from '../../storage/s3/bucket-storage.ts';
import type { Part } from '../lifecycle.ts';

export interface SharedSweepDeps {
  readonly bucket: Pick<BucketStorage, 'contents' | 'abortUploads' | 'uploadedBytes'>;
  readonly limits: { readonly maxBytes: number; readonly unusedForMs: number; readonly keep: readonly string[] };
  /** The file of the view while a sweep runs. */
  readonly path: string;
  readonly files: SqliteIndexDeps['files'];
  readonly clock: Clock;
  readonly observer: Observer;
  /** Whether this replica is to sweep: one does at a time. */
  readonly isMyTurn: () => boolean;
  /** Takes the lease under which one replica at a time sweeps; undefined when another holds it. The signal aborts when it is lost. */
  readonly hold?: () => Promise<(AsyncDisposable & { readonly signal: AbortSignal }) | undefined>;
  /** Resolves after `ms`. @throws when the signal aborts first. */
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<unknown>;
}

/** What the bucket held after the last sweep of this replica. */
export interface SweptBucket {
  readonly bytes: number;
  readonly objects: number;
}

const sweepEveryMs = 10 * 60_000;
const longestPauseMs = 6 * 3_600_000;
/** The listing of a large bucket takes minutes, and every page of it costs a call: it takes at most this share of the time. */
const shareOfTime = 1 / 100;
/** The bound is exceeded by this share before a sweep begins early, and by what is uploaded within {@link sweepEveryMs}. */
const shareOfBound = 1 / 50;
/** An upload that has not ended by then never will. */
const uploadsEndWithinMs = 24 * 3_600_000;

/**
 * Keeps the bucket below its bound: content that was not used for long is removed, and beyond the bound the least recently used, by the same rules
 * as in the local store. Each sweep makes a view of the bucket by listing it, so that it knows what all replicas uploaded and read.
 */
export class SharedSweep implements Part {
  readonly name = 'shared storage sweep';
  readonly #deps: Required<SharedSweepDeps>;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #swept: SweptBucket | undefined;
  /** What this replica had uploaded when its last sweep began. */
  #uploadedBytes = 0;

  constructor({ wait = (ms, signal) => sleep(ms, undefined, { signal, ref: false }), ...deps }: SharedSweepDeps) {
    this.#deps = { wait, hold: alone, ...deps };
  }

  /** Undefined before this replica has swept the bucket. */
  get swept(): SweptBucket | undefined {
    return this.#swept;
  }

  async start(): Promise<void> {
    this.#running = this.#run();
  }

  async stop({ signal }: Waiting): Promise<void> {
    this.#stopping.abort(new Error('the mirror stops'));
    await abortable(this.#running, signal).catch(() => {});
  }

  /** @throws UpstreamError when the bucket gives no answer: what was not removed is removed by the next sweep. */
  async sweep(waiting: Waiting): Promise<void> {
    const { bucket, clock, observer, limits } = this.#deps;
    const { uploadedBytes } = bucket;
    await bucket.abortUploads({ ...waiting, startedBeforeMs: clock.now() - uploadsEndWithinMs });
    const contents = bucket.contents(waiting);
    const index = new BucketView(this.#viewDeps());
    await index.start();
    try {
      const { store, records } = contents;
      const manifest = contents.manifest.bind(contents);
      await rebuildIndex({ store, records, manifest, index, observer, signal: waiting.signal });
      const space = new Space({
        store: { ...unbounded, remove: store.remove },
        records: { remove: records.remove, use: () => nothing },
        loose: { ...noLoose, remove: records.remove },
        index,
        clock,
        observer,
        limits: { maxBytes: limits.maxBytes, minFreeBytes: 0, maxFiles: Number.MAX_SAFE_INTEGER },
        unusedForMs: limits.unusedForMs,
        onEvicted: () => {},
      });
      const end = () => void space.stop(waiting.signal);
      waiting.signal.addEventListener('abort', end, { once: true });
      await space.sweep();
      waiting.signal.removeEventListener('abort', end);
      const { bytes, blobs, manifests } = await index.totals();
      this.#swept = { bytes, objects: blobs + manifests };
      this.#uploadedBytes = uploadedBytes;
    } finally {
      await index.stop();
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { clock, observer, isMyTurn } = this.#deps;
    let pauseMs = sweepEveryMs;
    while (!signal.aborted) {
      await this.#pause(pauseMs, signal).catch(() => {});
      const startedAtMs = clock.monotonicMs();
      try {
        if (!signal.aborted && isMyTurn()) await this.#sweepUnderLease(signal);
      } catch (cause) {
        if (!signal.aborted) observer.internalError({ part: 'shared storage sweep', cause });
      }
      pauseMs = pauseAfter(clock.monotonicMs() - startedAtMs);
    }
  }

  async #sweepUnderLease(signal: AbortSignal): Promise<void> {
    await using lease = await this.#deps.hold();
    if (lease) await this.sweep({ signal: AbortSignal.any([signal, lease.signal]) });
  }

  /** Ends early when this replica has uploaded so much that the bucket is beyond its bound. @throws when the signal aborts first. */
  async #pause(pauseMs: number, signal: AbortSignal): Promise<void> {
    for (let leftMs = pauseMs; leftMs > 0 && !signal.aborted; leftMs -= sweepEveryMs) {
      if (leftMs < pauseMs && this.#isBeyondBound()) return;
      await this.#deps.wait(Math.min(leftMs, sweepEveryMs), signal);
    }
  }

  #isBeyondBound(): boolean {
    const { bucket, limits } = this.#deps;
    const room = Math.max(0, limits.maxBytes - (this.#swept?.bytes ?? limits.maxBytes));
    return bucket.uploadedBytes - this.#uploadedBytes > Math.max(room, limits.maxBytes * shareOfBound);
  }

  #viewDeps(): SqliteIndexDeps {
    const { path, files, observer, clock, limits } = this.#deps;
    return { path, files, observer, clock, runs: { run: 'sweep', lastRun: undefined }, keep: limits.keep };
  }
}

/** Without other replicas. */
const alone = async () => ({ signal: new AbortController().signal, [Symbol.asyncDispose]: async () => {} });

/** How long to wait after a sweep that took so long. Pure. */
export function pauseAfter(tookMs: number): number {
  return Math.min(longestPauseMs, Math.max(sweepEveryMs, tookMs / shareOfTime));
}

/** The last uses are in the bucket, however new the view is. */
class BucketView extends SqliteIndex {
  override async watchingSinceMs(): Promise<number> {
    return 0;
  }

  /** The file of the view is on the local disk. */
  override async fileBytes(): Promise<number> {
    return 0;
  }
}

const nothing = { bytes: 0, files: 0 };

/** A bucket has no disk that could be full. */
const unbounded = {
  isBeingRead: () => false,
  pendingBytes: () => 0,
  partialBytes: () => 0,
  pendingFiles: () => 0,
  dropPartial: async () => 0,
  freeSpace: async () => ({ bytes: Number.MAX_SAFE_INTEGER }),
};

/** Records of tags and verdicts leave with their content, or with their repository. */
const noLoose = { drop: async () => 0, dropFormerlyNeeded: async () => 0, sweep: async () => {} };
