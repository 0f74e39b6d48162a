import { LRUCache } from 'lru-cache';
import type { Tag } from '../../oci/reference.ts';
import type { Background } from '../concurrency/background.ts';
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

/**
 * What every tag pointed to when it was last confirmed, in memory and on the disk. When a tag moves, its record is written at once.
 * Confirmations of the same digest, which change only a time, are collected and written together. One record is written at a time, always
 * the newest one of a tag.
 */
export class TagRecords {
  readonly #deps: TagRecordsDeps;
  readonly #memory = new LRUCache<string, TagRecord>({ max: 100_000 });
  readonly #unwritten = new Map<string, Entry>();
  /** Tags whose records are being removed from the disk. */
  readonly #removing = new Set<string>();
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
    return unwritten ? unwritten.record === undefined : this.#removing.has(key);
  }

  /** Forgets a tag in memory; the caller removes its record. */
  drop(repositoryId: RepositoryId, tag: Tag): void {
    this.#drops += 1;
    this.#memory.delete(tagKey(repositoryId, tag));
    this.#unwritten.delete(tagKey(repositoryId, tag));
  }

  /** Forgets a tag and removes its record. */
  forget(repositoryId: RepositoryId, tag: Tag): void {
    this.drop(repositoryId, tag);
    this.#deps.index.forgetTag(repositoryId, tag);
    // Queued, so that a record that is being written now cannot appear afterwards.
    this.#unwritten.set(tagKey(repositoryId, tag), { repositoryId, tag, record: undefined });
    this.#write();
  }

  /** Writes what is unwritten, in the background. */
  #write(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#writing) return;
    this.#writing = true;
    this.#deps.background.run('tag records', async () => {
      try {
        for (const [key, entry] of this.#unwritten) await this.#writeEntry(key, entry);
      } catch (cause) {
        this.#writeLater();
        throw cause;
      } finally {
        this.#writing = false;
      }
    });
  }

  /** What the disk refuses is written after the others, unless there is a newer record of the tag. */
  async #writeEntry(key: string, entry: Entry): Promise<void> {
    const { records } = this.#deps;
    const { repositoryId, tag, record } = entry;
    const place = { kind: 'tag', repositoryId, tag } as const;
    this.#unwritten.delete(key);
    if (!record) this.#removing.add(key);
    try {
      await (record ? records.write(place, storedTagRecord(tag, record)) : records.remove(place));
    } catch (cause) {
      if (!this.#unwritten.has(key) && this.#unwritten.size < maxUnwritten) this.#unwritten.set(key, entry);
      throw cause;
    } finally {
      this.#removing.delete(key);
    }
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
