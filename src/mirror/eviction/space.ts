import { setImmediate as nextTurn } from 'node:timers/promises';
import pLimit from 'p-limit';
import type { Digest } from '../../oci/digest.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import { blockBytes, type DiskUse } from './disk-use.ts';
import type { LooseRecords } from './loose-records.ts';
import { removeRecords } from './remove-records.ts';
import { StaleRepositories } from './stale-repositories.ts';
import { evictableBytes, evictableFiles, measureUse } from './store-use.ts';
import { TimePassed } from './time-passed.ts';
import { bytesToFree, chooseVictims, inodesToFree, type SpaceLimits } from './eviction.ts';
import { FreedLately } from './freed-lately.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { RecordKey, RecordStore } from '../ports/record-store.ts';
import type { EvictableContent, EvictionPosition, Index, Totals } from '../ports/store-index.ts';

export interface SpaceDeps {
  readonly store: Pick<
    BlobStore,
    'remove' | 'isBeingRead' | 'pendingBytes' | 'interruptedBytes' | 'pendingFiles' | 'freeSpace' | 'dropInterrupted'
  >;
  readonly records: Pick<RecordStore, 'remove' | 'use'>;
  readonly loose: Pick<LooseRecords, 'drop' | 'dropFormerlyNeeded' | 'sweep' | 'remove'>;
  readonly index: Index;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly limits: SpaceLimits;
  /** Content nobody pulled for this long goes though there is room. */
  readonly unusedForMs: number;
  /** What is evicted must leave the memories too. */
  readonly onEvicted: (records: readonly RecordKey[], digest?: Digest) => void;
}

/** Room promised to one download. */
export interface Reservation {
  readonly bytes: number;
  /** Not written yet. */
  readonly leftBytes: number;
  /** Moves bytes from "promised" to "written". @returns how many: none beyond what was promised. */
  wrote(bytes: number): number;
  release(): void;
}

interface Shortage {
  readonly totals: Totals;
  readonly shortBytes: number;
  readonly bytesNeeded: number;
  readonly filesNeeded: number;
  /** The part of them that the disk has no room for, whoever made them. */
  readonly inodesNeeded: number;
  readonly measured: Parameters<FreedLately['note']>[1];
}

/** A blob and the record of its link. */
const filesOfBlob = 2;
const pageSize = 32;
/** Records that go in one step, so that others get their turn. */
const recordsPerStep = 64;
/** Whoever wanted an interrupted download has given up by then. */
const goOnWithinMs = 24 * 3_600_000;

/** Keeps the store below its bound, ahead of need. One eviction runs at a time. */
export class Space {
  readonly #deps: SpaceDeps;
  readonly #freedLately = new FreedLately();
  readonly #staleRepositories: StaleRepositories;
  readonly #time: TimePassed;
  #promisedBytes = 0;
  #isSweepDue = false;
  #sweeping: Promise<void> | undefined;
  readonly #stopping = new AbortController();
  #tidying: Promise<void> | undefined;
  readonly #inTurn = pLimit(1);

  constructor(deps: SpaceDeps) {
    this.#deps = deps;
    this.#staleRepositories = new StaleRepositories(deps);
    this.#time = new TimePassed(deps.clock);
  }

  /**
   * Makes room for bytes that are about to come, evicting what was not used for longest.
   * @returns undefined when there is no room and none can be made, or it is not known how much there is: what arrives is served without being stored.
   */
  reserve(bytes: number): Promise<Reservation | undefined> {
    return this.#inTurn(async () =>
      (await this.#deps.index.isCounted()) && (await this.#makeRoom(bytes)) ? this.#promise(bytes) : undefined,
    );
  }

  /** Whether room for so many bytes could be made, by what is stored now. Evicts nothing. */
  async couldHold(bytes: number): Promise<boolean> {
    const { bytesNeeded, inodesNeeded, totals } = await this.#shortage(bytes);
    if (inodesNeeded > evictableFiles(totals)) return false;
    return bytesNeeded === 0 || bytesNeeded <= evictableBytes(totals) + this.#deps.store.interruptedBytes();
  }

  /** Evicts after a write that had no reservation, to keep the bound. Concurrent calls are combined: at most one more run waits. */
  tidy(): Promise<void> {
    this.#tidying ??= this.#inTurn(async () => {
      this.#tidying = undefined;
      await this.#makeRoom(0);
    });
    return this.#tidying;
  }

  /** What the store takes of the disk just now. */
  async use(): Promise<DiskUse> {
    const { storedBytes, pendingBytes, files } = await measureUse(this.#deps);
    return { bytes: storedBytes + pendingBytes, files };
  }

  /**
   * Evicts content that was not pulled for too long, or that a lowered bound has no room for; drops partial downloads that were not resumed.
   * One sweep runs at a time, in steps between which reservations get their turn. A call during a sweep makes it run once more.
   */
  sweep(): Promise<void> {
    this.#isSweepDue = true;
    this.#sweeping ??= this.#sweepWhileDue().finally(() => {
      this.#sweeping = undefined;
    });
    return this.#sweeping;
  }

  /** Ends a running sweep, and waits for its step until `signal` aborts. No further sweep begins. */
  async stop(signal: AbortSignal): Promise<void> {
    this.#stopping.abort();
    // Whoever began it hears of its failure.
    if (this.#sweeping) await abortable(this.#sweeping, signal).catch(() => {});
  }

  async #sweepWhileDue(): Promise<void> {
    while (this.#isSweepDue && !this.#stopping.signal.aborted) {
      this.#isSweepDue = false;
      await this.#sweep();
    }
  }

  async #sweep(): Promise<void> {
    const { signal } = this.#stopping;
    const { store, unusedForMs, index, loose } = this.#deps;
    const nowMs = this.#time.now();
    const leftBeforeMs = nowMs - goOnWithinMs;
    await this.#inTurn(() => store.dropInterrupted({ bytes: 0, leftBeforeMs }));
    await loose.sweep({ signal });
    while (!signal.aborted && (await this.#inTurn(() => this.#freeSome(0))) === 'freed');
    const usedBeforeMs = nowMs - unusedForMs;
    // An index made anew knows when a blob was written, not when it was last pulled.
    if (signal.aborted || (await index.watchingSinceMs()) > usedBeforeMs) return;
    while (!signal.aborted && (await this.#inTurn(() => this.#evictOneUnused(usedBeforeMs))));
  }

  /** @returns whether there may be more. */
  async #evictOneUnused(usedBeforeMs: number): Promise<boolean> {
    const [victim] = await this.#victims({ bytesNeeded: 0, contentsNeeded: 1, usedBeforeMs });
    if (victim) return this.#evict(victim, 'unused');
    return this.#staleRepositories.evictOne(usedBeforeMs);
  }

  #promise(bytes: number): Reservation {
    let leftBytes = bytes;
    this.#promisedBytes += bytes;
    const settle = (settledBytes: number) => {
      const counted = Math.min(settledBytes, leftBytes);
      leftBytes -= counted;
      this.#promisedBytes -= counted;
      return counted;
    };
    return {
      bytes,
      get leftBytes() {
        return leftBytes;
      },
      wrote: settle,
      release: () => void settle(leftBytes),
    };
  }

  /** @returns whether there is room for `wantedBytes`. */
  async #makeRoom(wantedBytes: number): Promise<boolean> {
    for (;;) {
      const outcome = await this.#freeSome(wantedBytes);
      if (outcome !== 'freed') return outcome === 'enough';
    }
  }

  /**
   * One step towards room for `wantedBytes`. What interrupted downloads left goes before anything that can be served, and records for which
   * nothing is stored before anything that is.
   * @returns `freed` when there may be more to do.
   */
  async #freeSome(wantedBytes: number): Promise<'enough' | 'freed' | 'impossible'> {
    const { store, loose } = this.#deps;
    const shortage = await this.#shortage(wantedBytes);
    const { shortBytes, bytesNeeded, filesNeeded, inodesNeeded, measured, totals } = shortage;
    if (bytesNeeded === 0 && filesNeeded === 0) return shortBytes === 0 ? 'enough' : 'impossible';
    const needed = { bytes: Math.max(1, bytesNeeded), leftBeforeMs: -Infinity };
    const records = Math.min(recordsPerStep, Math.max(filesNeeded, Math.ceil(bytesNeeded / blockBytes)));
    const freedBytes = (await store.dropInterrupted(needed)) || (await loose.drop(records)) * blockBytes;
    if (freedBytes > 0) {
      this.#freedLately.note(freedBytes, measured);
      return 'freed';
    }
    const isPossible = bytesNeeded <= evictableBytes(totals) && inodesNeeded <= evictableFiles(totals);
    if (isPossible && (await this.#evictSome(shortage))) return 'freed';
    return (await loose.dropFormerlyNeeded(records)) > 0 ? 'freed' : 'impossible';
  }

  /** @returns whether some content is gone. */
  async #evictSome({ bytesNeeded, filesNeeded, measured }: Shortage): Promise<boolean> {
    // With each goes a record at least.
    const contentsNeeded = Math.ceil(filesNeeded / 2);
    const victims = await this.#victims({ bytesNeeded, contentsNeeded, usedBeforeMs: Infinity });
    if (await this.#staleRepositories.evictOne(victims[0]?.usedAtMs ?? Infinity)) return true;
    let isSomeGone = false;
    for (const victim of victims) {
      if (!(await this.#evict(victim, 'lru'))) continue;
      this.#freedLately.note(victim.diskBytes, measured);
      isSomeGone = true;
    }
    return isSomeGone;
  }

  /** How much room is missing, and how much has to go for it: less, where what went already does not show yet. */
  async #shortage(wantedBytes: number): Promise<Shortage> {
    const { store, limits, clock } = this.#deps;
    const promisedBytes = this.#promisedBytes;
    const [{ totals, storedBytes, pendingBytes, files }, { bytes: freeBytes, inodes }] = await Promise.all([
      measureUse(this.#deps),
      store.freeSpace(),
    ]);
    const use = { storedBytes, pendingBytes: pendingBytes + promisedBytes, freeBytes: freeBytes - promisedBytes };
    const measured = { togetherBytes: freeBytes + storedBytes + pendingBytes, nowMs: clock.monotonicMs() };
    const soonFree = use.freeBytes + this.#freedLately.unshownBytes(measured);
    const inodesNeeded = inodesToFree(inodes);
    return {
      totals,
      shortBytes: bytesToFree(use, limits, wantedBytes),
      bytesNeeded: bytesToFree({ ...use, freeBytes: soonFree }, limits, wantedBytes),
      filesNeeded: Math.max(0, files + (wantedBytes > 0 ? filesOfBlob : 0) - limits.maxFiles, inodesNeeded),
      inodesNeeded,
      measured,
    };
  }

  /** Looks through the evictable, page by page, until some may go. None, while it is not known yet what is kept and what is a part of what. */
  async #victims({
    usedBeforeMs,
    ...needed
  }: {
    readonly bytesNeeded: number;
    readonly contentsNeeded: number;
    readonly usedBeforeMs: number;
  }): Promise<readonly EvictableContent[]> {
    const { index, store } = this.#deps;
    if (!(await index.isComplete())) return [];
    for (let after: EvictionPosition | undefined; ; ) {
      const page = await index.evictable({ limit: pageSize, after });
      after = page.at(-1);
      const victims = chooseVictims(
        page.filter(({ usedAtMs }) => usedAtMs < usedBeforeMs),
        { ...needed, isBusy: ({ digest }) => store.isBeingRead(digest) },
      );
      const isLast = page.length < pageSize || (after?.usedAtMs ?? 0) >= usedBeforeMs;
      if (victims.length > 0 || isLast) return victims;
    }
  }

  /**
   * The records go first: a record without content costs one download, content without its record one look upstream. What the disk does
   * not let go goes on counting.
   * @returns whether it is gone.
   */
  async #evict(content: EvictableContent, reason: 'lru' | 'unused'): Promise<boolean> {
    const { index, records, store, observer, onEvicted } = this.#deps;
    const { digest, size } = content;
    await nextTurn(); // Many calls in a row must not block the event loop.
    const keys = await this.#forgotten(digest);
    if (!keys) return false;
    onEvicted(keys, digest);
    try {
      await removeRecords(keys, { from: records });
      await store.remove(digest);
      // Once more: a pull meanwhile may have read of the records what was there yet.
      onEvicted(keys, digest);
    } catch (cause) {
      observer.trouble({ part: 'eviction', cause });
      index.noteContent({ ...content, names: [] });
      return false;
    }
    observer.evicted({ reason, bytes: size });
    return true;
  }

  /** A full disk takes nothing from the index either: then the content goes alone, and the index forgets it when it is next. */
  async #forgotten(digest: Digest): Promise<readonly RecordKey[] | undefined> {
    const { index, store, observer } = this.#deps;
    const trouble = (cause: unknown) => observer.trouble({ part: 'eviction', cause });
    try {
      return await index.forget(digest);
    } catch (cause) {
      trouble(cause);
      await store.remove(digest).catch(trouble);
      return undefined;
    }
  }
}
