import type { Config } from '../config/schema.ts';
import { RedisConnection } from '../cluster/redis/connection.ts';
import { countStored } from '../index/redis/count-stored.ts';
import { RedisIndex } from '../index/redis/redis-index.ts';
import type { LosableIndex } from '../index/rebuilder.ts';
import { StoredLinks } from '../index/stored-links.ts';
import { SqliteIndex } from '../index/sqlite/sqlite-index.ts';
import { StoreLock } from '../index/store-lock.ts';
import { ScrubProgress } from '../mirror/eviction/scrub-progress.ts';
import type { Clock } from '../mirror/ports/clock.ts';
import type { ClusterObserver, Observer, StoreObserver } from '../mirror/ports/observer.ts';
import type { Catalogue, CatalogueLists, Index } from '../mirror/ports/store-index.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';
import { FileBlobStore } from '../storage/filesystem/blob-store.ts';
import { ChangeJournal } from '../storage/filesystem/change-journal.ts';
import { DurableFolders } from '../storage/filesystem/durable-folders.ts';
import type { FailpointHook } from '../storage/filesystem/failpoints.ts';
import { type FileSystem, nodeFiles, observedFiles } from '../storage/filesystem/file-system.ts';
import { FileRecordStore } from '../storage/filesystem/record-store.ts';
import { RemovalReserve } from '../storage/filesystem/removal-reserve.ts';
import { StoreScan } from '../storage/filesystem/scan/store-scan.ts';
import { StateFile } from '../storage/filesystem/state-file.ts';
import { storeIdIn } from '../storage/filesystem/store-id.ts';
import { scrubFile } from '../storage/layout.ts';
import type { Part } from './lifecycle.ts';
import { redisSettingsOf } from './cluster/redis-settings.ts';

export interface StoresDeps {
  readonly clock: Clock;
  readonly observer: Observer & ClusterObserver & StoreObserver;
  readonly failpoint: FailpointHook | undefined;
  /** What blobs and records are written to. The lock and the index always use the system's. */
  readonly files: FileSystem;
  /** What is never evicted, as globs. */
  readonly keep: readonly string[];
}

/** An index with its start and stop. */
export type StoreIndex = Index & Catalogue & CatalogueLists & LosableIndex & Part;

/** The parts that keep content, and the index of it. */
export interface Stores {
  readonly lock: StoreLock;
  readonly index: StoreIndex;
  /** Where changes of the store are noted, for an index on the disk. */
  readonly changes?: Part | undefined;
  /** The connections to Redis, by their use. */
  readonly redis?: Readonly<Record<string, RedisConnection>>;
  readonly store: FileBlobStore;
  readonly records: FileRecordStore;
  readonly scrubbing: ScrubProgress;
  /** Reads the store ahead for a rebuild, where it is on this machine's disk. */
  readonly scan: ((waiting: Waiting) => StoreScan) | undefined;
  /** On the disk of an index that is a file. */
  readonly reserve?: RemovalReserve;
}

/** Makes the stores of a configuration; nothing is opened yet. */
export function createStores({ storage, index }: Config, deps: StoresDeps): Stores {
  const { clock, observer, failpoint, keep } = deps;
  const files = observedFiles(deps.files, { clock, observer });
  const { path } = storage;
  const folders = new DurableFolders({ files: nodeFiles });
  const lock = new StoreLock({ folder: path, files: folders, observer });
  const hold = lock.hold.bind(lock);
  const changes =
    index.driver === 'sqlite'
      ? new ChangeJournal({ path, files, folders: new DurableFolders({ files }), clock, observer, hold })
      : undefined;
  const store = new FileBlobStore({ path, observer, clock, failpoint, files, hold, changes });
  const records = new FileRecordStore({ path, observer, failpoint, files, hold, changes });
  const scrubbing = scrubProgressIn(path, { files, clock, observer, hold });
  const scanned = { path, store, records, observer };
  const scan = deps.files === nodeFiles ? (waiting: Waiting) => new StoreScan({ ...scanned, ...waiting }) : undefined;
  const contents = { lock, store, records, scrubbing, changes, scan };
  const common = { observer, clock, runs: lock, keep };
  if (index.driver === 'sqlite') {
    const file = `${index.path}.reserve`;
    const reserve = new RemovalReserve({ file, files, observer, maxBytes: storage.maxBytes, hold });
    return { ...contents, reserve, index: new SqliteIndex({ ...common, path: index.path, files: folders, changes }) };
  }
  const settings = redisSettingsOf(index.redis);
  const redis = new RedisConnection({ name: 'index', settings, clock, observer });
  const onRefused = (cause: unknown) => observer.internalError({ part: 'store id', cause });
  const viewed = new RedisIndex({
    ...common,
    redis,
    keyPrefix: index.redis.keyPrefix,
    storeId: () => storeIdIn({ folder: path, files: nodeFiles, folders, onRefused }),
    storedLinks: new StoredLinks({ records, store, observer, clock }),
    countStore: (waiting) => countStored({ store, records, ...waiting }),
  });
  return { ...contents, index: viewed, redis: { index: redis } };
}

/** Two times and a digest. */
const maxScrubBytes = 1_024;

function scrubProgressIn(
  path: string,
  {
    clock,
    observer,
    ...deps
  }: Pick<StoresDeps, 'clock' | 'observer' | 'files'> & { readonly hold: () => Promise<void> },
): ScrubProgress {
  const folders = new DurableFolders(deps);
  const named = { ...deps, path, name: scrubFile, maxBytes: maxScrubBytes, folders, failpoint: undefined, observer };
  return new ScrubProgress({ clock, observer, file: new StateFile(named) });
}
