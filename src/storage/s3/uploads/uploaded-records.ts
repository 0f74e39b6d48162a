import { LRUCache } from 'lru-cache';
import type { Clock } from '../../../mirror/ports/clock.ts';
import {
  type DiskUse,
  type ListedRecords,
  type RecordKey,
  recordName,
  type RecordStore,
} from '../../../mirror/ports/record-store.ts';
import type { RepositoryId } from '../../../mirror/ports/repository-id.ts';
import { isJsonObject } from '../../../oci/json.ts';
import type { Uploads } from './uploads.ts';

export interface UploadedRecordsDeps {
  readonly records: RecordStore;
  readonly uploads: Pick<Uploads, 'add'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
}

interface LastUpload {
  readonly value: unknown;
  readonly atMs: number;
}

/** A tag is confirmed every few minutes: without this, each confirmation would be an upload. */
const againAfterMs = 3_600_000;
const maxRemembered = 50_000;

/**
 * The local records. Those of tags and of visibility are uploaded to the bucket after they are written: at once when a tag moves or a verdict
 * changes, else about once an hour. Links and manifests follow their content instead. What is removed here stays in the bucket.
 */
export class UploadedRecords implements RecordStore {
  readonly #deps: UploadedRecordsDeps;
  readonly #last = new LRUCache<string, LastUpload>({ max: maxRemembered });

  constructor(deps: UploadedRecordsDeps) {
    this.#deps = deps;
  }

  read(key: RecordKey): Promise<unknown> {
    return this.#deps.records.read(key);
  }

  async write(key: RecordKey, value: object): Promise<void> {
    await this.#deps.records.write(key, value);
    if (this.#isDue(key, value)) this.#deps.uploads.add(key);
  }

  remove(key: RecordKey): Promise<void> {
    this.#last.delete(recordName(key));
    return this.#deps.records.remove(key);
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

  #isDue(key: RecordKey, written: object): boolean {
    if (key.kind !== 'tag' && key.kind !== 'visibility') return false;
    const name = recordName(key);
    const last = this.#last.get(name);
    const [value, atMs] = [meaningOf(written), this.#deps.clock.monotonicMs()];
    if (last && last.value === value && atMs - last.atMs < againAfterMs) return false;
    this.#last.set(name, { value, atMs });
    return true;
  }
}

/** What a record says, without when it was confirmed. */
function meaningOf(record: object): unknown {
  return isJsonObject(record) ? (record['digest'] ?? record['verdict']) : undefined;
}
