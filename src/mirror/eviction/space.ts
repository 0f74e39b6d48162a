import pLimit from 'p-limit';
import type { Digest } from '../../oci/digest.ts';
import { abortable, StoreWatch } from '../concurrency/abortable-wait.ts';
import type { LooseRecords } from './loose-records.ts';
import { StaleRepositories } from './stale-repositories.ts';
import { type Shortage, type SpaceLimits, StoreMeter } from './store-meter.ts';
import { Eviction, type PinnedContent, TimePassed, type Unpurged } from './eviction.ts';
import { type MemoryOfRemoved, removeRecords } from './removal.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import { blockBytes, type DiskUse, type RecordKey, type RecordStore } from '../ports/record-store.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { EvictableContent, Index } from '../ports/store-index.ts';

export interface RoomForRemovals {
  /** @returns whether the disk had so little room that it was given back. */
  readonly giveBack: () => Promise<boolean>;
  /** Takes room again after it was given back. */
  readonly retake: () => Promise<void>;
  /** Takes room when there is plenty. */
  readonly prepare: () => Promise<void>;
}

export interface SpaceDeps extends MemoryOfRemoved {
  readonly store: Pick<
    BlobStore,
    'open' | 'remove' | 'isBeingRead' | 'pendingBytes' | 'partialBytes' | 'pendingFiles' | 'freeSpace' | 'dropPartial'
  >;
  /** It removes the records of tags that were dropped; see {@link KeptMeanwhile}. */
  readonly records: Pick<RecordStore, 'remove' | 'use'>;
  readonly loose: Pick<LooseRecords, 'contentRemoved' | 'drop' | 'dropFormerlyNeeded' | 'sweep' | 'remove'>;
  readonly index: Index;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'evicted' | 'internalError'>;
  readonly limits: SpaceLimits;
  /** Content that was not pulled for this long is evicted, even with free space. */
  readonly unusedForMs: number;
  /** Absent: nothing is pinned. */
  readonly pins?: PinnedContent | undefined;
  /** Room that is given back so that something can be removed from a full disk; absent: there is none. */
  readonly reserve?: RoomForRemovals | undefined;
}

/** Room reserved for one download. */
export interface Reservation {
  readonly bytes: number;
  /** Not written yet. */
  readonly leftBytes: number;
  /** Moves bytes from "promised" to "written". @returns how many: none beyond what was promised. */
  wrote(bytes: number): number;
  release(): void;
}

/** Records removed in one step; between steps reservations get their turn. */
const recordsPerStep = 64;
/** Partial downloads that were not resumed for this long are dropped. */
const resumedWithinMs = 24 * 3_600_000;

/** Keeps the store below its bound, ahead of need. One eviction runs at a time. */
export class Space {
  /** Of every step that a download waits for. */
  readonly watch = new StoreWatch();
  readonly #deps: SpaceDeps;
  readonly #meter: StoreMeter;
  readonly #eviction: Eviction;
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
    this.#meter = new StoreMeter(deps);
    const onEvicted: SpaceDeps['onEvicted'] = (records, digest, since) => {
      deps.onEvicted(records, digest, since);
      deps.loose.contentRemoved(records);
    };
    this.#eviction = new Eviction({ ...deps, onEvicted });
    this.#staleRepositories = new StaleRepositories({ ...deps, onEvicted });
    this.#time = new TimePassed(deps.clock);
  }

  /**
   * Reserves room for bytes that are about to arrive; evicts the least recently used content if necessary.
   * @returns undefined if no room can be made, the use of the store is not known yet, or the store hangs: then the bytes are served without
   * being stored. @throws Error when the store begins to hang.
   */
  reserve(bytes: number): Promise<Reservation | undefined> {
    if (this.watch.hangs) return Promise.resolve(undefined);
    const reserving = this.#inTurn(async () =>
      (await this.#deps.index.isCounted()) && (await this.#makeRoom(bytes)) ? this.#promise(bytes) : undefined,
    );
    return this.watch.whileProgressing(reserving, (late) => late?.release());
  }

  /** Whether room for so many bytes could be made, by what is stored now. Evicts nothing. @throws Error when the store hangs. */
  couldHold(bytes: number): Promise<boolean> {
    return this.watch.hangs ? Promise.resolve(false) : this.watch.inTime(this.#couldHold(bytes));
  }

  async #couldHold(bytes: number): Promise<boolean> {
    const { bytesNeeded, inodesNeeded, evictable } = await this.#meter.shortage(bytes, () => this.#promisedBytes);
    if (inodesNeeded > evictable.files) return false;
    return bytesNeeded === 0 || bytesNeeded <= this.#unpinnedBytes(evictable) + this.#deps.store.partialBytes();
  }

  /** Evicts after a write that had no reservation, to keep the bound. Concurrent calls are combined: at most one more run waits. */
  tidy(): Promise<void> {
    this.#tidying ??= this.#inTurn(async () => {
      this.#tidying = undefined;
      await this.#makeRoom(0);
    });
    return this.#tidying;
  }

  /** Removes content, however recently it was pulled, if `decide` finds it free when it is its turn, unless the mirror stops. */
  purge(content: EvictableContent, decide: () => Promise<'free' | Unpurged>): Promise<'removed' | Unpurged> {
    const { signal } = this.#stopping;
    return this.#removing(async () => {
      if (signal.aborted) return 'left';
      const decided = await decide();
      if (decided !== 'free') return decided;
      return (await this.#eviction.evict(content, 'purge')) ? 'removed' : 'left';
    });
  }

  /** Removes records. @throws RecordsLeft */
  purgeRecords(keys: readonly RecordKey[]): Promise<void> {
    return this.#removing(async () => {
      await this.#deps.kept?.dropTags(keys);
      await removeRecords(keys, { from: this.#deps.records });
    });
  }

  /** Forgets content of which a record was to be written, if `isMissing` says so when it is its turn. */
  forgetIfMissing(record: RecordKey & { readonly digest: Digest }, isMissing: () => Promise<boolean>): Promise<void> {
    return this.#removing(async () => {
      if (await isMissing()) await this.#eviction.forgetMissing(record);
    });
  }

  /** Removes the records of a repository. @returns whether they are gone. */
  purgeRepository(repositoryId: RepositoryId): Promise<boolean> {
    return this.#removing(() => this.#staleRepositories.evict(repositoryId));
  }

  /** What the store uses of the disk now. */
  use(): Promise<DiskUse> {
    return this.#meter.use();
  }

  /**
   * Evicts content that was not pulled for too long, or that exceeds a lowered bound; drops partial downloads that were not resumed.
   * One sweep runs at a time, in steps between which reservations get their turn. A call during a sweep makes it run once more.
   */
  sweep(): Promise<void> {
    this.#isSweepDue = true;
    this.#sweeping ??= this.#sweepWhileDue().finally(() => {
      this.#sweeping = undefined;
    });
    return this.#sweeping;
  }

  /** Ends a running sweep, and waits for its step until `signal` aborts. No further sweep starts. */
  async stop(signal: AbortSignal): Promise<void> {
    this.#stopping.abort();
    // The caller of sweep() gets its failure.
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
    const { store, unusedForMs, index, loose, reserve } = this.#deps;
    await reserve?.prepare(); // Not in turn: downloads reserve their room also while a disk takes no writes.
    const nowMs = this.#time.now();
    const leftBeforeMs = nowMs - resumedWithinMs;
    await this.#removing(() => store.dropPartial({ bytes: 0, leftBeforeMs }));
    while (!signal.aborted && (await this.#removing(() => this.#eviction.removeLeftLinks())));
    await loose.sweep({ signal });
    this.#staleRepositories.recheck();
    while (!signal.aborted && (await this.#inTurn(() => this.#freeSome(0))) === 'freed');
    const usedBeforeMs = nowMs - unusedForMs;
    // A rebuilt index knows when a blob was written, not when it was last pulled.
    if (signal.aborted || (await index.watchingSinceMs()) > usedBeforeMs) return;
    while (!signal.aborted && (await this.#inTurn(() => this.#evictOneUnused(usedBeforeMs))));
  }

  /** @returns whether there may be more. */
  async #evictOneUnused(usedBeforeMs: number): Promise<boolean> {
    const [victim] = await this.#eviction.next({ bytesNeeded: 0, contentsNeeded: 1, usedBeforeMs });
    if (victim) return this.#eviction.evict(victim, 'unused');
    return this.#staleRepositories.evictOne(usedBeforeMs);
  }

  #removing<Result>(remove: () => Promise<Result>): Promise<Result> {
    return this.#inTurn(async () => {
      const { reserve } = this.#deps;
      const wasGivenBack = await reserve?.giveBack();
      try {
        return await remove();
      } finally {
        if (wasGivenBack) await reserve?.retake();
      }
    });
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
   * One step towards room for `wantedBytes`. Partial downloads are removed before anything that can be served, loose records before content.
   * @returns `freed` when there may be more to do.
   */
  async #freeSome(wantedBytes: number): Promise<'enough' | 'freed' | 'impossible'> {
    const { store, loose } = this.#deps;
    const shortage = await this.#meter.shortage(wantedBytes, () => this.#promisedBytes);
    const { shortBytes, bytesNeeded, filesNeeded, inodesNeeded, measured, evictable } = shortage;
    if (bytesNeeded === 0 && filesNeeded === 0) return shortBytes === 0 ? 'enough' : 'impossible';
    await this.#deps.reserve?.giveBack();
    const needed = { bytes: Math.max(1, bytesNeeded), leftBeforeMs: -Infinity };
    const records = Math.min(recordsPerStep, Math.max(filesNeeded, Math.ceil(bytesNeeded / blockBytes)));
    const freedBytes = (await store.dropPartial(needed)) || (await loose.drop(records)) * blockBytes;
    if (freedBytes > 0) {
      this.#meter.freed(freedBytes, measured);
      return 'freed';
    }
    const isPossible = bytesNeeded <= this.#unpinnedBytes(evictable) && inodesNeeded <= evictable.files;
    if (isPossible && (await this.#evictSome(shortage))) return 'freed';
    return (await loose.dropFormerlyNeeded(records)) > 0 ? 'freed' : 'impossible';
  }

  #unpinnedBytes(evictable: DiskUse): number {
    const { pins } = this.#deps;
    return pins?.isKnown === false ? 0 : evictable.bytes - (pins?.bytes ?? 0);
  }

  /** @returns whether some content is gone. */
  async #evictSome({ bytesNeeded, filesNeeded, measured }: Shortage): Promise<boolean> {
    // Each has at least one record.
    const contentsNeeded = Math.ceil(filesNeeded / 2);
    const victims = await this.#eviction.next({ bytesNeeded, contentsNeeded, usedBeforeMs: Infinity });
    if (await this.#staleRepositories.evictOne(victims[0]?.usedAtMs ?? Infinity)) return true;
    let isSomeGone = false;
    for await (const { content, isGone } of this.#eviction.evictAll(victims, 'lru')) {
      this.watch.progressed();
      if (!isGone) continue;
      this.#meter.freed(content.diskBytes, measured);
      isSomeGone = true;
    }
    return isSomeGone;
  }
}
