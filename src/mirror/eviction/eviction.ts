import { setImmediate as nextTurn } from 'node:timers/promises';
import pLimit from 'p-limit';
import type { Digest } from '../../oci/digest.ts';
import { parallel } from '../concurrency/parallel.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import { distinctRecords, type RecordKey, type RecordStore } from '../ports/record-store.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { EvictableContent, EvictionPosition, Index } from '../ports/store-index.ts';
import { linkAgain, type MemoryOfRemoved, removeEverywhere, removeRecords } from './removal.ts';

/** What operators have pinned: it is not evicted. */
export interface PinnedContent {
  /** Whether it is known what is pinned: as long as it is not, nothing is evicted. */
  readonly isKnown: boolean;
  readonly isEmpty: boolean;
  /** Its disk use, without what `storage.keep` keeps. */
  readonly bytes: number;
  /** Changes with the pins. */
  readonly version: number;
  /** Whether content that nothing names is pinned. */
  isPinned(digest: Digest): Promise<boolean>;
  /** Whether some of a repository is pinned: then its records stay. */
  isPinnedRepository(repositoryId: RepositoryId): boolean;
}

export interface EvictionDeps extends MemoryOfRemoved {
  readonly store: Pick<BlobStore, 'open' | 'remove' | 'isBeingRead'>;
  readonly records: Pick<RecordStore, 'remove'>;
  readonly index: Index;
  readonly clock: Pick<Clock, 'now'>;
  readonly observer: Pick<Observer, 'evicted' | 'internalError'>;
  /** Absent: nothing is pinned. */
  readonly pins?: PinnedContent | undefined;
}

const pageSize = 32;
/** What is pinned stays among the least recently used. */
const pageSizeBesidePins = 256;
/** How many contents are removed at the same time. */
const evictedTogether = 16;
/** About 20 MB. */
const mostEvictedEarly = 100_000;

/** Finds the content to evict, and removes it with its records. */
export class Eviction {
  readonly #deps: EvictionDeps;
  readonly #forgetInTurn = pLimit(1);
  /** Evicted while the index may have lacked links to it: a rebuild finds their records afterwards. */
  readonly #evictedEarly = new Set<Digest>();

  constructor(deps: EvictionDeps) {
    this.#deps = deps;
  }

  /**
   * The next content to evict, least recently used first. None while the index cannot tell what is kept or used by an image, or nobody what is
   * pinned.
   */
  async next({
    usedBeforeMs,
    ...needed
  }: {
    readonly bytesNeeded: number;
    readonly contentsNeeded: number;
    readonly usedBeforeMs: number;
  }): Promise<readonly EvictableContent[]> {
    const { index, store, pins } = this.#deps;
    if (pins?.isKnown === false || !(await index.knowsEvictable())) return [];
    if (pins && !pins.isEmpty && !(await index.isComplete())) return []; // It may not know what is pinned.
    const limit = pins === undefined || pins.isEmpty ? pageSize : pageSizeBesidePins;
    const isBusy = ({ digest }: EvictableContent) => store.isBeingRead(digest);
    for (let after: EvictionPosition | undefined; ; ) {
      const page = await index.evictable({ limit, after });
      after = page.at(-1);
      const unused = page.filter(({ usedAtMs }) => usedAtMs < usedBeforeMs);
      const victims = await this.#unpinnedVictims(unused, { ...needed, isBusy });
      const isLast = page.length < limit || (after?.usedAtMs ?? 0) >= usedBeforeMs;
      if (victims.length > 0 || isLast) return victims;
    }
  }

  /** Only what would be evicted is looked up. */
  async #unpinnedVictims(
    oldestFirst: readonly EvictableContent[],
    { isBusy, ...needed }: VictimRules,
  ): Promise<readonly EvictableContent[]> {
    const { pins } = this.#deps;
    const pinned = new Set<Digest>();
    for (;;) {
      const isLeft = (content: EvictableContent) => pinned.has(content.digest) || isBusy(content);
      const victims = chooseVictims(oldestFirst, { ...needed, isBusy: isLeft });
      if (pins === undefined || pins.isEmpty) return victims;
      const before = pinned.size;
      for (const { digest } of victims) if (await pins.isPinned(digest)) pinned.add(digest);
      if (pinned.size === before) return victims;
    }
  }

  /** Evicts several contents, some at the same time: each takes several calls of the disk. @returns with each whether it is gone. */
  evictAll(
    contents: readonly EvictableContent[],
    reason: 'lru',
  ): AsyncIterable<{ readonly content: EvictableContent; readonly isGone: boolean }> {
    return parallel(contents, evictedTogether, async (content) => ({
      content,
      isGone: await this.evict(content, reason),
    }));
  }

  /**
   * Removes the records first: a record without content costs one download, content without its record one upstream request. Content that
   * the disk does not remove is counted again, and linked as far as its records are left.
   * @returns whether it is gone.
   */
  async evict(content: EvictableContent, reason: 'lru' | 'unused' | 'purge'): Promise<boolean> {
    const { digest } = content;
    const forget = () => this.#forgetInTurn(() => this.#forgotten(digest));
    const remove = (keys: readonly RecordKey[]) => this.#removed(content, keys);
    const isEarly = !(await this.#deps.index.isComplete());
    if (isEarly && this.#evictedEarly.size < mostEvictedEarly) this.#evictedEarly.add(digest);
    const keys = await removeEverywhere(this.#deps, { digest, forget, remove });
    if (!keys) return false;
    const { isManifest, size } = content;
    this.#deps.observer.evicted({ reason, bytes: size, content: { isManifest, records: keys } });
    return true;
  }

  /**
   * Once the index is complete: removes the links of one content that was evicted before, and is not stored again. What fails is tried again after
   * the others.
   * @returns whether there may be more to do now.
   */
  async removeLeftLinks(): Promise<boolean> {
    const { index, observer } = this.#deps;
    const [digest] = this.#evictedEarly;
    if (digest === undefined || !(await index.isComplete())) return false;
    this.#evictedEarly.delete(digest);
    try {
      await this.#forgetMissing(digest, async () => ((await this.#isKeptAgain(digest)) ? undefined : []));
      return true;
    } catch (cause) {
      this.#evictedEarly.add(digest);
      observer.internalError({ part: 'eviction', cause });
      linkAgain(cause, this.#deps);
      return false;
    }
  }

  /** Forgets content that the disk does not have, with its records and this one. @throws the error of the index or the disk. */
  forgetMissing(record: RecordKey & { readonly digest: Digest }): Promise<void> {
    return this.#forgetMissing(record.digest, async () => [record]);
  }

  /** Whether it is stored, or was pulled since and will be: the index knows a manifest before the store does. */
  async #isKeptAgain(digest: Digest): Promise<boolean> {
    const { index, store } = this.#deps;
    await using stored = await store.open(digest);
    return stored !== undefined || (await index.hasContent(digest));
  }

  /** @param wanted the records that go too; nothing is forgotten if it resolves to undefined. What is pulled since it was called is kept. */
  async #forgetMissing(digest: Digest, wanted: () => Promise<readonly RecordKey[] | undefined>): Promise<void> {
    const { index, records } = this.#deps;
    await removeEverywhere(this.#deps, {
      digest,
      forget: async () => {
        const besides = await wanted();
        return besides && distinctRecords([...besides, ...(await index.forget(digest))]);
      },
      remove: async (keys) => {
        await this.#countAgainIfStored(digest);
        await removeRecords(keys, { from: records });
        return true;
      },
    });
  }

  /** Content may have been stored since it was missed, and be forgotten with the rest: nothing would count it. */
  async #countAgainIfStored(digest: Digest): Promise<void> {
    const { index, store, clock } = this.#deps;
    await using stored = await store.open(digest);
    if (!stored || (await index.hasContent(digest))) return;
    index.recordContent({ digest, size: stored.size, isManifest: false, names: [], usedAtMs: clock.now() });
  }

  /** Content with its records. @returns whether it is gone from the disk; otherwise it is counted again. */
  async #removed(content: EvictableContent, keys: readonly RecordKey[]): Promise<boolean> {
    const { index, records, store, observer } = this.#deps;
    try {
      await removeRecords(keys, { from: records });
      await store.remove(content.digest);
      return true;
    } catch (cause) {
      observer.internalError({ part: 'eviction', cause });
      index.recordContent({ ...content, names: [] });
      linkAgain(cause, this.#deps);
      return false;
    }
  }

  /** The index cannot forget anything while the disk is full: then only the content is removed, and the index forgets it next time. */
  async #forgotten(digest: Digest): Promise<readonly RecordKey[] | undefined> {
    const { index, store, observer } = this.#deps;
    await nextTurn(); // Many calls in a row must not block the event loop.
    const report = (cause: unknown) => observer.internalError({ part: 'eviction', cause });
    try {
      return await index.forget(digest);
    } catch (cause) {
      report(cause);
      await store.remove(digest).catch(report);
      return undefined;
    }
  }
}

/** Why content is not purged: it went before, something needs it, or the disk or the index does not let it go now. */
export type Unpurged = 'gone' | 'needed' | 'left';

export interface VictimRules {
  readonly isBusy: (content: EvictableContent) => boolean;
  readonly bytesNeeded: number;
  readonly contentsNeeded: number;
}

/**
 * Which of the least recently used contents are evicted now. The list ends at the first manifest: once it is gone, contents that only it
 * named become evictable by their own last use, before those that follow here. So an image is evicted whole, and a layer that another image
 * names stays. Pure.
 */
export function chooseVictims(
  oldestFirst: readonly EvictableContent[],
  rules: VictimRules,
): readonly EvictableContent[] {
  const victims: EvictableContent[] = [];
  let freedBytes = 0;
  for (const content of oldestFirst) {
    if (freedBytes >= rules.bytesNeeded && victims.length >= rules.contentsNeeded) break;
    if (rules.isBusy(content)) continue;
    victims.push(content);
    freedBytes += content.diskBytes;
    if (content.isManifest) break;
  }
  return victims;
}

/**
 * The time by which content gets old: the wall clock, but no further ahead than time has passed since the process started. A wall clock that
 * is set ahead must not make everything in the store old at once.
 */
export class TimePassed {
  readonly #clock: Clock;
  readonly #offsetMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#offsetMs = clock.now() - clock.monotonicMs();
  }

  now(): number {
    return Math.min(this.#clock.now(), this.#offsetMs + this.#clock.monotonicMs());
  }
}
