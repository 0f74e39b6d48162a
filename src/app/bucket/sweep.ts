import { setTimeout as sleep } from 'node:timers/promises';
import { rebuildIndex } from '../../index/rebuild.ts';
import { SqliteIndex, type SqliteIndexDeps } from '../../index/sqlite/sqlite-index.ts';
import { Space } from '../../mirror/eviction/space.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer, StoreObserver } from '../../mirror/ports/observer.ts';
import { bytesOnDisk } from '../../mirror/ports/record-store.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { abortable } from '../../mirror/concurrency/abortable-wait.ts';
import type { BucketCount } from '../../cluster/bucket/bucket-count.ts';
import type { BucketStorage } from '../../storage/s3/bucket-storage.ts';
import type { BucketContents } from '../../storage/s3/sweep/bucket-contents.ts';
import type { Part } from '../lifecycle.ts';
import {
  checkEveryMs,
  mustRemoveSome,
  pauseAfter,
  sweepDue,
  sweepEndsWithinMs,
  uploadsEndWithinMs,
} from './sweep-rules.ts';

export interface SharedSweepDeps {
  readonly bucket: Pick<BucketStorage, 'contents' | 'abortUploads'>;
  readonly limits: { readonly maxBytes: number; readonly unusedForMs: number; readonly keep: readonly string[] };
  /** The file of the view while a sweep runs. */
  readonly path: string;
  readonly files: SqliteIndexDeps['files'];
  readonly clock: Clock;
  readonly observer: Observer & StoreObserver;
  /** What was uploaded since the last sweep. */
  readonly count: Pick<BucketCount, 'now' | 'sweepBegins' | 'sweepEnded'>;
  /** Whether this replica sweeps from time to time while Redis does not say when the last sweep was. */
  readonly isFirst: () => boolean;
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
  /** Since its start, or its last sweep. */
  #idleSinceMs = 0;
  /** After a sweep that failed. */
  #notBeforeMs = 0;

  constructor({ wait = (ms, signal) => sleep(ms, undefined, { signal, ref: false }), ...deps }: SharedSweepDeps) {
    this.#deps = { wait, hold: alone, ...deps };
  }

  /** Undefined before this replica has swept the bucket. */
  get swept(): SweptBucket | undefined {
    return this.#swept;
  }

  async start(): Promise<void> {
    this.#idleSinceMs = this.#deps.clock.monotonicMs();
    this.#running = this.#run();
  }

  async stop({ signal }: Waiting): Promise<void> {
    this.#stopping.abort(new Error('the mirror stops'));
    await abortable(this.#running, signal).catch(() => {});
  }

  /** @throws UpstreamError when the bucket gives no answer: what was not removed is removed by the next sweep; the signal's reason. */
  async sweep(waiting: Waiting): Promise<void> {
    const { bucket, clock, count } = this.#deps;
    const { signal } = waiting;
    const startedAtMs = clock.monotonicMs();
    await count.sweepBegins();
    await bucket.abortUploads({ ...waiting, startedBeforeMs: clock.now() - uploadsEndWithinMs });
    const contents = bucket.contents(waiting);
    const index = new BucketView(this.#viewDeps());
    await index.start();
    try {
      if (await this.#makeView(contents, index, signal)) await this.#removeSome(contents, index, signal);
      signal.throwIfAborted();
      const { bytes, diskBytes, blobs, manifests } = await index.totals();
      this.#swept = { bytes, objects: blobs + manifests };
      await count.sweepEnded({ heldBytes: diskBytes, tookMs: clock.monotonicMs() - startedAtMs });
    } finally {
      await index.stop();
    }
  }

  /** @returns whether something is to be removed: only then the view knows more than the content. */
  async #makeView(contents: BucketContents, index: BucketView, signal: AbortSignal): Promise<boolean> {
    const { clock, observer, limits } = this.#deps;
    const { store, records } = contents;
    let [diskBytes, oldestUseMs] = [0, Infinity];
    const list = async function* () {
      for await (const content of store.list()) {
        diskBytes += bytesOnDisk(content.size);
        oldestUseMs = Math.min(oldestUseMs, content.modifiedAtMs);
        yield content;
      }
    };
    const isSurplus = () => mustRemoveSome({ diskBytes, oldestUseMs }, { ...limits, nowMs: clock.now() });
    const listRecords = async function* () {
      if (isSurplus()) yield* records.list();
    };
    const manifest = contents.manifest.bind(contents);
    const view = { store: { ...store, list }, records: { ...records, list: listRecords }, manifest, index };
    await rebuildIndex({ ...view, observer, signal, readTogether: 1 });
    return isSurplus();
  }

  async #removeSome({ store, records }: BucketContents, index: BucketView, signal: AbortSignal): Promise<void> {
    const { clock, observer, limits } = this.#deps;
    const space = new Space({
      store: { ...unbounded, remove: store.remove },
      records: { remove: records.remove, use: () => nothing },
      loose: { ...noLoose, remove: records.remove },
      index,
      clock,
      observer: {
        evicted: ({ reason, bytes }) => observer.evicted({ reason, bytes }),
        internalError: (event) => void (signal.aborted || observer.internalError(event)),
      },
      limits: { maxBytes: limits.maxBytes, minFreeBytes: 0, maxFiles: Number.MAX_SAFE_INTEGER },
      unusedForMs: limits.unusedForMs,
      onEvicted: () => {},
    });
    const end = () => void space.stop(signal);
    signal.addEventListener('abort', end, { once: true });
    await space.sweep();
    signal.removeEventListener('abort', end);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.#deps.wait(checkEveryMs, signal).catch(() => {});
      if (!signal.aborted && (await this.#isDue())) await this.#sweepUnderLease(signal);
    }
  }

  async #isDue(): Promise<boolean> {
    const { clock, count, isFirst, limits } = this.#deps;
    const nowMs = clock.monotonicMs();
    if (nowMs < this.#notBeforeMs) return false;
    const estimate = await count.now();
    const lastSweep = estimate.lastSweep ?? { agoMs: nowMs - this.#idleSinceMs, tookMs: 0 };
    const due = sweepDue({ ...estimate, lastSweep, maxBytes: limits.maxBytes });
    return due === 'uploads' || (due === 'time' && (estimate.isOfAll || isFirst()));
  }

  /** A sweep whose lease is lost ends: another replica sweeps. Never throws. */
  async #sweepUnderLease(signal: AbortSignal): Promise<void> {
    const { clock, observer, hold } = this.#deps;
    const startedAtMs = clock.monotonicMs();
    await using lease = await hold();
    if (!lease) return;
    try {
      await this.sweep({
        signal: AbortSignal.any([signal, lease.signal, AbortSignal.timeout(sweepEndsWithinMs)]),
      });
    } catch (cause) {
      if (signal.aborted || lease.signal.aborted) return;
      observer.internalError({ part: 'shared storage sweep', cause });
      this.#notBeforeMs = clock.monotonicMs() + pauseAfter(clock.monotonicMs() - startedAtMs);
    } finally {
      this.#idleSinceMs = clock.monotonicMs();
    }
  }

  #viewDeps(): SqliteIndexDeps {
    const { path, files, observer, clock, limits } = this.#deps;
    return { path, files, observer, clock, runs: { run: 'sweep', lastRun: undefined }, keep: limits.keep };
  }
}

/** Without other replicas. */
const alone = async () => ({ signal: new AbortController().signal, [Symbol.asyncDispose]: async () => {} });

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
  open: async () => undefined,
  isBeingRead: () => false,
  pendingBytes: () => 0,
  partialBytes: () => 0,
  pendingFiles: () => 0,
  dropPartial: async () => 0,
  freeSpace: async () => ({ bytes: Number.MAX_SAFE_INTEGER }),
};

/** Records of tags and verdicts leave with their content, or with their repository. */
const noLoose = {
  contentRemoved: () => {},
  drop: async () => 0,
  dropFormerlyNeeded: async () => 0,
  sweep: async () => {},
};
