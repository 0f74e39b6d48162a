import type { DiskUse, RecordKey, RecordStore } from '../../src/mirror/ports/record-store.ts';
import { isSameRepository, type RepositoryId } from '../../src/mirror/ports/repository-id.ts';
import { recordPath } from '../../src/storage/layout.ts';
import type { Gate } from './gate.ts';

/** Records in memory, for tests of what stands above them; it counts what was read. */
export class MemoryRecords implements RecordStore {
  readonly written = new Map<string, object>();
  reads = 0;
  /** Until it opens nothing is read. */
  holdReads: Gate | undefined;
  readonly #keys = new Map<string, RecordKey>();

  async read(key: RecordKey): Promise<unknown> {
    this.reads += 1;
    await this.holdReads?.opened;
    return this.written.get(recordPath(key));
  }

  async write(key: RecordKey, value: object): Promise<void> {
    this.#keys.set(recordPath(key), key);
    this.written.set(recordPath(key), value);
  }

  async remove(key: RecordKey): Promise<void> {
    this.#keys.delete(recordPath(key));
    this.written.delete(recordPath(key));
  }

  use(): DiskUse {
    return { bytes: 0, files: 0 };
  }

  async *list(): AsyncIterable<RecordKey> {
    yield* this.#keys.values();
  }

  async *listOf(repositoryId: RepositoryId): AsyncIterable<RecordKey> {
    for (const key of this.#keys.values()) if (isSameRepository(key.repositoryId, repositoryId)) yield key;
  }
}
