import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock } from '../ports/clock.ts';
import {
  blockBytes,
  type DiskUse,
  type ListedRecords,
  type RecordKey,
  recordName,
  type RecordStore,
} from '../ports/record-store.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { Index } from '../ports/store-index.ts';
import type { Waiting } from '../ports/waiting.ts';

export interface LooseRecordsDeps {
  readonly records: RecordStore;
  readonly index: Pick<Index, 'isNeeded' | 'isComplete'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** How many unchecked records there may be. */
  readonly maxUnchecked: number;
  /** How many of the last written records are never dropped for room: their content may still be arriving. */
  readonly newest: number;
  /** Removes the record of a tag, in turn with writes of it, by {@link LooseRecords.remove}. Resolves when that has ended. */
  readonly removeTag: (key: RecordKey & { readonly kind: 'tag' }) => Promise<void>;
  /** Begins the same, in the background. */
  readonly forgetTag: (key: RecordKey & { readonly kind: 'tag' }) => void;
  /** Called after each write of a loose record. */
  readonly onWritten: () => void;
}

interface Loose {
  readonly key: RecordKey;
  readonly atMs: number;
}

interface DropOptions {
  readonly limit: number;
  readonly keep: number;
  readonly usedBeforeMs: number;
  /** Whether the records of tags are gone when it resolves. */
  readonly waitsForTags: boolean;
}

/** How long a record without stored content is kept. */
const unneededForMs = 7 * 24 * 3_600_000;
/** How many records of evicted content each sweep checks. */
const checkedPerSweep = 1_000;
/** All records are looked at again so often: content may have gone in other ways than by eviction. */
const surveyEveryMs = 24 * 3_600_000;
/** More than one, so that each write above the bound leaves fewer records than before. */
const droppedPerWrite = 8;
/** Records that are checked in one turn of the event loop. */
const recordsPerTurn = 50;

/**
 * Loose records: those that may be written before their content is stored, or without it ever being stored (tags that were only looked
 * up, listings, visibility verdicts). A record is needed while its content is stored. When room is short the others are dropped first, least
 * recently used first; after a week they are dropped in any case.
 *
 *     written, found, or content of it evicted ─▶ unchecked ─▶ dropped, if none of its content is stored
 *                                                         └──▶ needed, and no longer in memory
 */
export class LooseRecords implements RecordStore {
  readonly #deps: LooseRecordsDeps;
  /** Least recently used first. */
  #unchecked = new Map<string, Loose>();
  /** Records of which some content was evicted, and that may exist. At most `maxUnchecked`: a survey finds the others. */
  readonly #formerlyNeeded = new Map<string, RecordKey>();
  #surveyedAtMs = -Infinity;

  constructor(deps: LooseRecordsDeps) {
    this.#deps = deps;
  }

  async read(key: RecordKey): Promise<unknown> {
    const value = await this.#deps.records.read(key);
    if (value !== undefined && this.#unchecked.has(recordName(key))) this.#add(key);
    return value;
  }

  /** Writes a record. An empty listing is written only if it replaces another, or if content that it is about is stored. */
  async write(key: RecordKey, value: object): Promise<void> {
    const { records, onWritten, maxUnchecked } = this.#deps;
    if (isEmptyListing(value) && !(await this.#isWorthKeeping(key))) return;
    await records.write(key, value);
    if (!isLoose(key)) return;
    this.#add(key);
    // The writer of tags waits for this: it must not wait for removals of tags, which wait for it.
    await this.#drop({ limit: droppedPerWrite, keep: maxUnchecked, usedBeforeMs: Infinity, waitsForTags: false });
    onWritten();
  }

  /** Counts a record that is about to be written; it may be dropped before it is written. */
  expect(key: RecordKey): void {
    this.#add(key);
    this.#deps.onWritten();
  }

  remove(key: RecordKey): Promise<void> {
    this.#unchecked.delete(recordName(key));
    this.#formerlyNeeded.delete(recordName(key));
    return this.#deps.records.remove(key);
  }

  /** Content was removed, with these records: the loose records beside them may no longer be needed. */
  contentRemoved(records: readonly RecordKey[]): void {
    for (const key of records.values().flatMap(looseBeside)) {
      if (this.#formerlyNeeded.size >= this.#deps.maxUnchecked) return;
      const name = recordName(key);
      if (!this.#unchecked.has(name)) this.#formerlyNeeded.set(name, key);
    }
  }

  list(which?: ListedRecords): AsyncIterable<RecordKey> {
    return this.#deps.records.list(which);
  }

  listOf(repositoryId: RepositoryId): AsyncIterable<RecordKey> {
    return this.#deps.records.listOf(repositoryId);
  }

  use(): DiskUse {
    return this.#deps.records.use();
  }

  /**
   * Removes up to `limit` records without stored content, least recently used first, but none of the newest.
   * @returns how many were removed.
   */
  async drop(limit: number): Promise<number> {
    return this.#drop({ limit, keep: this.#deps.newest, usedBeforeMs: Infinity, waitsForTags: true });
  }

  /** As `drop`, also of records whose content was evicted since the last sweep. This is expensive: it is the last resort. */
  async dropFormerlyNeeded(limit: number): Promise<number> {
    if (await this.#deps.index.isComplete()) await this.#checkFormerlyNeeded(Infinity);
    return this.drop(limit);
  }

  /** Finds the records of earlier processes, on the first call and once a day. Removes records unused for a week, and those beyond the bound. */
  async sweep({ signal }: Waiting): Promise<void> {
    const { index, clock, maxUnchecked } = this.#deps;
    if (!(await index.isComplete())) return;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#surveyedAtMs >= surveyEveryMs && (await this.#survey(signal))) this.#surveyedAtMs = nowMs;
    if (signal.aborted) return;
    await this.#checkFormerlyNeeded(checkedPerSweep);
    const unusedBeforeMs = clock.monotonicMs() - unneededForMs;
    await this.#drop({ limit: Infinity, keep: 0, usedBeforeMs: unusedBeforeMs, waitsForTags: true });
    await this.#drop({ limit: Infinity, keep: maxUnchecked, usedBeforeMs: Infinity, waitsForTags: true });
  }

  async #drop(options: DropOptions): Promise<number> {
    let dropped = 0;
    let looked = 0;
    if (!(await this.#deps.index.isComplete())) return 0;
    for (const [name, loose] of this.#unchecked) {
      const isOver = this.#unchecked.size <= options.keep || loose.atMs >= options.usedBeforeMs;
      if (isOver || dropped >= options.limit) break;
      looked += 1;
      if (looked % recordsPerTurn === 0) await nextTurn();
      if (await this.#settle(name, loose, options)) dropped += 1;
    }
    return dropped;
  }

  /** @returns whether it was dropped. */
  async #settle(name: string, loose: Loose, { waitsForTags }: DropOptions): Promise<boolean> {
    const { key } = loose;
    const isNeeded = await this.#deps.index.isNeeded(key);
    if (this.#unchecked.get(name) !== loose) return false; // It was used meanwhile.
    this.#unchecked.delete(name);
    if (isNeeded) return false;
    await this.#discard(key, { waitsForTags });
    return true;
  }

  async #discard(key: RecordKey, { waitsForTags }: Pick<DropOptions, 'waitsForTags'>): Promise<void> {
    const { records, removeTag, forgetTag } = this.#deps;
    if (key.kind !== 'tag') await records.remove(key);
    else if (waitsForTags) await removeTag(key);
    else forgetTag(key);
  }

  /** Those that exist and are no longer needed become the oldest of the unchecked ones. */
  async #checkFormerlyNeeded(limit: number): Promise<void> {
    const { records, index, clock } = this.#deps;
    const atMs = clock.monotonicMs();
    const found = new Map<string, Loose>();
    let looked = 0;
    for (const [name, key] of this.#formerlyNeeded.entries().take(limit).toArray()) {
      looked += 1;
      if (looked % recordsPerTurn === 0) await nextTurn();
      this.#formerlyNeeded.delete(name);
      if (!(await index.isNeeded(key)) && (await records.read(key)) !== undefined) found.set(name, { key, atMs });
    }
    this.#addOldest(found);
  }

  #addOldest(found: Map<string, Loose>): void {
    for (const name of this.#unchecked.keys()) found.delete(name);
    this.#unchecked = new Map([...found, ...this.#unchecked]);
  }

  /** Finds the records of earlier processes; at most `maxUnchecked` stay. @returns false when the signal aborted it. */
  async #survey(signal: AbortSignal): Promise<boolean> {
    const { records, index, clock, maxUnchecked } = this.#deps;
    const atMs = clock.monotonicMs();
    const found = new Map<string, Loose>();
    let looked = 0;
    for await (const key of records.list('loose')) {
      looked += 1;
      if (looked % recordsPerTurn === 0) await nextTurn();
      if (signal.aborted) return false;
      const name = recordName(key);
      if (!isLoose(key) || this.#unchecked.has(name) || (await index.isNeeded(key))) continue;
      found.set(name, { key, atMs });
      if (found.size <= maxUnchecked || this.#unchecked.has(name)) continue;
      found.delete(name);
      await this.#discard(key, { waitsForTags: true });
    }
    this.#addOldest(found);
    return true;
  }

  #add(key: RecordKey): void {
    const name = recordName(key);
    this.#formerlyNeeded.delete(name);
    this.#unchecked.delete(name);
    this.#unchecked.set(name, { key, atMs: this.#deps.clock.monotonicMs() });
  }

  async #isWorthKeeping(key: RecordKey): Promise<boolean> {
    if (this.#unchecked.has(recordName(key))) return true;
    return (await this.#deps.index.isNeeded(key)) || (await this.#deps.records.read(key)) !== undefined;
  }
}

/** The bounds on loose records, in proportion to the bounds of the store. */
export function looseLimits({ maxBytes, maxFiles }: { readonly maxBytes: number; readonly maxFiles: number }): {
  readonly maxUnchecked: number;
  readonly newest: number;
} {
  // The only record of a repository takes three or four blocks, including its folders.
  const most = Math.min(maxFiles, Math.floor(maxBytes / blockBytes)) / 4;
  return { maxUnchecked: clamp(most / 4, 16, 10_000), newest: clamp(most / 64, 16, 1_000) };
}

function clamp(value: number, least: number, most: number): number {
  return Math.floor(Math.min(most, Math.max(least, value)));
}

/** Whether the record is not written together with content, and removed with it. */
function isLoose({ kind }: RecordKey): boolean {
  return kind !== 'manifest' && kind !== 'blob';
}

/** Loose records that are needed no longer than the content of a link. */
function looseBeside(key: RecordKey): readonly RecordKey[] {
  const { repositoryId } = key;
  const referrers = key.kind === 'manifest' ? [{ ...key, kind: 'referrers' as const }] : [];
  return [...referrers, { kind: 'tag-list', repositoryId }, { kind: 'visibility', repositoryId }];
}

function isEmptyListing(value: object): boolean {
  if ('names' in value) return value.names === '';
  return 'referrers' in value && Array.isArray(value.referrers) && value.referrers.length === 0;
}
