import { join } from 'node:path';
import type { Config } from '../config/schema.ts';
import { SqliteIndex } from '../index/sqlite/sqlite-index.ts';
import { StoreLock } from '../index/store-lock.ts';
import type { Clock } from '../mirror/ports/clock.ts';
import type { Observer } from '../mirror/ports/observer.ts';
import { FileBlobStore } from '../storage/filesystem/blob-store.ts';
import { DurableFolders } from '../storage/filesystem/durable-folders.ts';
import type { FailpointHook } from '../storage/filesystem/failpoints.ts';
import { type FileSystem, nodeFiles } from '../storage/filesystem/file-system.ts';
import { FileRecordStore } from '../storage/filesystem/record-store.ts';

export interface StoresDeps {
  readonly clock: Clock;
  readonly observer: Observer;
  readonly failpoint: FailpointHook | undefined;
  /** What blobs and records are written to. The lock and the index always use the system's. */
  readonly files: FileSystem;
  /** What is never evicted, as globs. */
  readonly keep: readonly string[];
}

/** The parts with files on the disk. */
export interface Stores {
  readonly lock: StoreLock;
  readonly index: SqliteIndex;
  readonly store: FileBlobStore;
  readonly records: FileRecordStore;
}

/** Makes the stores of a configuration; nothing is opened yet. */
export function createStores({ storage, index }: Config, deps: StoresDeps): Stores {
  const { clock, observer, failpoint, files, keep } = deps;
  const { path } = storage;
  const folders = new DurableFolders({ files: nodeFiles });
  const lock = new StoreLock({ folder: path, files: folders, observer });
  const hold = lock.hold.bind(lock);
  const indexFile = index.driver === 'sqlite' ? index.path : join(path, 'index.sqlite');
  return {
    lock,
    index: new SqliteIndex({ path: indexFile, files: folders, observer, clock, runs: lock, keep }),
    store: new FileBlobStore({ path, observer, clock, failpoint, files, hold }),
    records: new FileRecordStore({ path, observer, failpoint, files, hold }),
  };
}
