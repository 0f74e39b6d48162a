import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Tag } from '../../oci/reference.ts';
import type { Background } from '../concurrency/background.ts';
import { boundedMap } from '../concurrency/remembered.ts';
import {
  parseTagRecord,
  type RecordKey,
  type RecordStore,
  storedTagRecord,
  type TagRecord,
} from '../ports/record-store.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { Index } from '../ports/store-index.ts';

export interface TagRecordsDeps {
  readonly records: RecordStore;
  readonly index: Index;
  readonly background: Background;
  /** Called with a record that counts from now on, and is about to be written. */
  readonly onRecorded: (key: RecordKey) => void;
  /** How long confirmations are collected before they are written. */
  readonly batchMs: number;
}

interface Entry {
  readonly repositoryId: RepositoryId;
  readonly tag: Tag;
  /** Undefined: the record is to be removed. */
  readonly record: TagRecord | undefined;
}

/** A bound for when the disk refuses writes. The memory holds no more either. */
const maxUnwritten = 100_000;
/** About 10 ms. The index buffers each, and an index in Redis is rebuilt when it has to buffer very many. */
const droppedTogether = 1_000;

/**
 * What every tag pointed to when it was last confirmed, in memory and on the disk. When a tag moves, its record is written at once.
 * Confirmations of the same digest, which change only a time, are collected and written together. One record is written at a time, always
 * the newest one of a tag. Whoever removes a record of a tag does it here: writes and removals of one tag do not run at the same time.
 */
export class TagRecords {
  readonly #deps: TagRecordsDeps;
  readonly #memory = boundedMap<string, TagRecord>(100_000);
  readonly #unwritten = new Map<string, Entry>();
  /** The write or removal of each tag's record that runs now. */
  readonly #running = new Map<string, { readonly isRemoval: boolean; readonly ended: Promise<void> }>();
  /** How often tags were dropped: what was read from the disk meanwhile may be one of them. */
  #drops = 0;
  #writing = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: TagRecordsDeps) {
    this.#deps = deps;
  }

  /** The record that memory holds. */
  remembered(repositoryId: RepositoryId, tag: Tag): TagRecord | undefined {
    return this.#memory.get(tagKey(repositoryId, tag));
  }

  async get(repositoryId: RepositoryId, tag: Tag): Promise<TagRecord | undefined> {
    const known = this.remembered(repositoryId, tag);
    if (known) return known;
    const key = tagKey(repositoryId, tag);
    if (this.#isForgotten(key)) return undefined;
    const drops = this.#drops;
    const record = parseTagRecord(await this.#deps.records.read({ kind: 'tag', repositoryId, tag }), tag);
    // It may have been confirmed, or forgotten, while the disk was read.
    const newer = this.remembered(repositoryId, tag);
    if (newer || this.#isForgotten(key)) return newer;
    if (record && this.#drops === drops) this.#memory.set(key, record);
    return record;
  }

  put(repositoryId: RepositoryId, tag: Tag, record: TagRecord): void {
    const key = tagKey(repositoryId, tag);
    const moved = this.#memory.get(key)?.digest !== record.digest;
    this.#memory.set(key, record);
    this.#unwritten.set(key, { repositoryId, tag, record });
    if (moved) this.#deps.index.recordTag(repositoryId, tag, record.digest);
    if (moved) this.#deps.onRecorded({ kind: 'tag', repositoryId, tag });
    if (moved) this.#write();
    else this.#writeLater();
  }

  /** Whether it was forgotten, and the disk may still have its record. */
  #isForgotten(key: string): boolean {
    const unwritten = this.#unwritten.get(key);
    return unwritten ? unwritten.record === undefined : this.#running.get(key)?.isRemoval === true;
  }

  /** Forgets a tag, and removes its record in the background. */
  forget(repositoryId: RepositoryId, tag: Tag): void {
    this.#forget({ repositoryId, tag, record: undefined });
    this.#write();
  }

  /**
   * Forgets a tag, and removes its record before the records that wait to be written: while the disk is full these wait for long. A tag that
   * is confirmed meanwhile stays.
   * @throws the disk's error; the removal is tried again later
   */
  async remove(repositoryId: RepositoryId, tag: Tag): Promise<void> {
    await this.drop([{ kind: 'tag', repositoryId, tag }]);
    await this.removeDropped(repositoryId, tag);
  }

  /**
   * Forgets the tags among these: at once, but of very many some in each turn of the event loop. Their records are removed by
   * {@link removeDropped}, or with the next records that are written.
   */
  async drop(records: readonly RecordKey[]): Promise<void> {
    for (const [at, key] of records.entries()) {
      if (at > 0 && at % droppedTogether === 0) await nextTurn();
      if (key.kind === 'tag') this.#forget({ repositoryId: key.repositoryId, tag: key.tag, record: undefined });
    }
  }

  /** Removes the record of a dropped tag, as {@link remove} does; a tag that was recorded again stays. @throws likewise */
  async removeDropped(repositoryId: RepositoryId, tag: Tag): Promise<void> {
    const key = tagKey(repositoryId, tag);
    await this.#ended(key);
    const entry = this.#unwritten.get(key);
    if (entry === undefined || entry.record !== undefined) return;
    try {
      await this.#writeEntry(key);
    } catch (cause) {
      this.#writeLater();
      throw cause;
    }
  }

  #forget(entry: Entry): void {
    const { repositoryId, tag } = entry;
    const key = tagKey(repositoryId, tag);
    this.#drops += 1;
    this.#memory.delete(key);
    this.#deps.index.forgetTag(repositoryId, tag);
    this.#unwritten.set(key, entry);
  }

  /** Writes what is unwritten, in the background. */
  #write(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#writing) return;
    this.#writing = true;
    this.#deps.background.run('tag records', async () => {
      try {
        for (const key of this.#unwritten.keys()) await this.#writeEntry(key);
      } catch (cause) {
        this.#writeLater();
        throw cause;
      } finally {
        this.#writing = false;
      }
    });
  }

  /** What the disk refuses is written after the others, unless there is a newer record of the tag. */
  async #writeEntry(key: string): Promise<void> {
    if (this.#running.has(key)) await this.#ended(key);
    const entry = this.#unwritten.get(key);
    if (!entry) return;
    this.#unwritten.delete(key);
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    this.#running.set(key, { isRemoval: entry.record === undefined, ended });
    try {
      await this.#writeNow(entry);
    } catch (cause) {
      if (!this.#unwritten.has(key) && this.#unwritten.size < maxUnwritten) this.#unwritten.set(key, entry);
      throw cause;
    } finally {
      this.#running.delete(key);
      end();
    }
  }

  /** Resolves when no record of this tag is being written or removed. */
  async #ended(key: string): Promise<void> {
    for (let before = this.#running.get(key); before; before = this.#running.get(key)) await before.ended;
  }

  #writeNow({ repositoryId, tag, record }: Entry): Promise<void> {
    const { records } = this.#deps;
    const place = { kind: 'tag', repositoryId, tag } as const;
    return record ? records.write(place, storedTagRecord(tag, record)) : records.remove(place);
  }

  #writeLater(): void {
    this.#timer ??= setTimeout(() => this.#write(), this.#deps.batchMs).unref();
  }

  /** Writes what was collected. */
  flush(): void {
    if (this.#unwritten.size > 0) this.#write();
  }
}

export function tagKey({ upstream, repository }: RepositoryId, tag: string): string {
  return `${upstream}/${repository}:${tag}`;
}
