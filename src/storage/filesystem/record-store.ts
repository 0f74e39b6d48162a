import pLimit, { type LimitFunction } from 'p-limit';
import { dirname, join } from 'node:path';
import type { Observer } from '../../mirror/ports/observer.ts';
import {
  type DiskUse,
  type ListedRecords,
  type RecordKey,
  type RecordStore,
  type RecordFolders,
  blockBytes,
  bytesOnDisk,
} from '../../mirror/ports/record-store.ts';
import type { RepositoryId } from '../../mirror/ports/repository-id.ts';
import type { Digest } from '../../oci/digest.ts';
import {
  isLinksFolder,
  isRecordsFolder,
  manifestRecordsPath,
  recordKeyAt,
  recordPath,
  repositoriesFolder,
  repositoryPath,
} from '../layout.ts';
import type { BeginChange, ChangeJournal } from './change-journal.ts';
import { DurableFolders } from './durable-folders.ts';
import type { FailpointHook } from './failpoints.ts';
import { failedWith, filesBelow, type FileSystem, nodeFiles, type OpenFile, readUpTo } from './file-system.ts';
import { createIncomingFile } from './incoming/incoming-file.ts';
import { repositoriesBelow } from './repository-folders.ts';

export interface FileRecordStoreDeps {
  /** The storage path, absolute; the blob store beside it prepares its folders. */
  readonly path: string;
  readonly observer: Pick<Observer, 'internalError'>;
  readonly failpoint: FailpointHook | undefined;
  readonly files?: FileSystem;
  /** Resolves when this process may write to the store; absent: at once. @throws when it may not. */
  readonly hold?: () => Promise<void>;
  /** Changes of links and tags are noted there before they are made; absent: they are not. */
  readonly changes?: Pick<ChangeJournal, 'begin' | 'beginRemoval'> | undefined;
}

/**
 * How many records are written at the same time. Their new folders count at once, and cannot be removed until the records are written: with
 * hundreds of them content in use would be evicted.
 */
const writtenTogether = 16;

/** Records as JSON files; see layout.ts. Writes of one record take effect in the order of the calls. */
export class FileRecordStore implements RecordStore, RecordFolders {
  readonly #deps: Required<Omit<FileRecordStoreDeps, 'changes'>>;
  readonly #noted: FileRecordStoreDeps['changes'];
  readonly #folders: DurableFolders;
  readonly #use = new RecordUse();
  /** Runs the changes of each record one after another. */
  readonly #changes = new Map<string, LimitFunction>();
  readonly #writing = pLimit(writtenTogether);

  constructor({ files = nodeFiles, hold = async () => {}, changes, ...deps }: FileRecordStoreDeps) {
    this.#noted = changes;
    this.#deps = { files, hold, ...deps };
    this.#folders = new DurableFolders({ files, onFolders: (change) => this.#use.foldersChanged(change) });
  }

  async read(key: RecordKey): Promise<unknown> {
    const bytes = await this.#readFile(this.#pathOf(key));
    return bytes && this.#parse(key, bytes);
  }

  write(key: RecordKey, value: object): Promise<void> {
    const path = this.#pathOf(key);
    const write = async (): Promise<void> => {
      const bytes = Buffer.from(JSON.stringify(value));
      const before = await this.#sizeIfCounted(key);
      await this.#writeFile(path, bytes, this.#beginOf(key));
      if (!isIndexed(key)) this.#use.changed(before, bytes.byteLength);
    };
    return this.#inTurn(path, () => this.#writing(write));
  }

  remove(key: RecordKey): Promise<void> {
    const path = this.#pathOf(key);
    return this.#inTurn(path, async () => {
      await this.#deps.hold();
      using change = isIndexed(key) ? this.#noted?.beginRemoval(key) : undefined;
      await change?.noted;
      const before = await this.#sizeIfCounted(key);
      await this.#folders.remove(path);
      this.#use.changed(before, undefined);
      await this.#folders.removeEmpty(dirname(path), join(this.#deps.path, repositoriesFolder));
    });
  }

  async *list(which: ListedRecords = 'all'): AsyncIterable<RecordKey> {
    const { files, path: root, observer } = this.#deps;
    using count = this.countAnew();
    const onFolder = (path: string): boolean => {
      count.foundFolders(1);
      return which === 'all' || !isLinksFolder(path);
    };
    for await (const path of filesBelow(files, root, repositoriesFolder, onFolder)) {
      const key = recordKeyAt(path);
      if (!key) continue;
      try {
        count.found(await this.#sizeIfCounted(key));
      } catch (cause) {
        observer.internalError({ part: 'records', cause });
      }
      yield key;
    }
    count.end();
  }

  async *listOf(repositoryId: RepositoryId): AsyncIterable<RecordKey> {
    const { files, path: root } = this.#deps;
    const folder = repositoryPath(repositoryId);
    const isItsOwn = (path: string): boolean => isRecordsFolder(path.slice(folder.length + 1));
    for await (const path of filesBelow(files, root, folder, isItsOwn)) {
      const key = recordKeyAt(path);
      if (key) yield key;
    }
  }

  /** Begins to count anew what {@link use} says of folders, and of the records that no index counts. */
  countAnew(): RecordCount {
    return this.#use.beginWalk();
  }

  repositoriesOf(upstream: string): AsyncIterable<RepositoryId> {
    const { files, path } = this.#deps;
    return repositoriesBelow({ files, root: path, upstream });
  }

  async *manifestsOf(repositoryId: RepositoryId): AsyncIterable<Digest> {
    const { files, path: root } = this.#deps;
    for await (const path of filesBelow(files, root, manifestRecordsPath(repositoryId))) {
      const key = recordKeyAt(path);
      if (key?.kind === 'manifest') yield key.digest;
    }
  }

  use(): DiskUse {
    return this.#use.total;
  }

  /** The bytes of a record that no index counts; undefined if there is none. @throws the disk's error. */
  async #sizeIfCounted(key: RecordKey): Promise<number | undefined> {
    if (isIndexed(key)) return undefined;
    try {
      return (await this.#deps.files.stat(this.#pathOf(key))).size;
    } catch (cause) {
      if (failedWith(cause, 'ENOENT')) return undefined;
      throw cause;
    }
  }

  #pathOf(key: RecordKey): string {
    return join(this.#deps.path, recordPath(key));
  }

  #beginOf(key: RecordKey): BeginChange {
    const noted = isIndexed(key) ? this.#noted : undefined;
    return noted && (() => noted.begin(key));
  }

  async #writeFile(path: string, bytes: Uint8Array, begin: BeginChange): Promise<void> {
    await using file = await createIncomingFile({ ...this.#deps, folders: this.#folders, kind: 'record' });
    await file.append([bytes]);
    await file.publish(path, begin);
  }

  async #inTurn(path: string, change: () => Promise<void>): Promise<void> {
    const inTurn = this.#changes.get(path) ?? pLimit(1);
    this.#changes.set(path, inTurn);
    try {
      await inTurn(change);
    } finally {
      if (inTurn.activeCount + inTurn.pendingCount === 0) this.#changes.delete(path);
    }
  }

  async #readFile(path: string): Promise<Buffer | undefined> {
    try {
      return await readWhole(await this.#deps.files.open(path, 'read'));
    } catch (error) {
      if (failedWith(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  #parse(key: RecordKey, bytes: Buffer): unknown {
    try {
      return JSON.parse(bytes.toString('utf8'));
    } catch (cause) {
      const record = new Error(`${recordPath(key)} is no JSON`, { cause });
      this.#deps.observer.internalError({ part: 'records', cause: record });
      return undefined;
    }
  }
}

/** Whether an index counts the records of this kind. */
function isIndexed({ kind }: RecordKey): boolean {
  return kind === 'tag' || kind === 'manifest' || kind === 'blob';
}

async function readWhole(file: OpenFile): Promise<Buffer> {
  try {
    return await readUpTo((await file.status()).size, file);
  } finally {
    await file.close();
  }
}

/** A count by a walk over all records. */
export interface RecordCount extends Disposable {
  /** A record that no index counts. */
  found(size: number | undefined): void;
  foundFolders(folders: number): void;
  /** From now on what was found counts. */
  end(): void;
}

interface Counted {
  bytes: number;
  files: number;
  folders: number;
}

/**
 * Counts the disk use of the records' folders, and of the records that no index counts. What is written or removed during a walk may be
 * counted wrongly until the next walk.
 */
class RecordUse {
  #counted: Counted = { bytes: 0, files: 0, folders: 0 };
  /** What running walks have found. */
  readonly #walks = new Set<Counted>();

  get total(): DiskUse {
    const { bytes, files, folders } = this.#counted;
    return { bytes: Math.max(0, bytes) + Math.max(0, folders) * blockBytes, files: Math.max(0, files + folders) };
  }

  /** A record had `before` bytes and has `after` now; undefined: there is none. */
  changed(before: number | undefined, after: number | undefined): void {
    for (const counted of [this.#counted, ...this.#walks]) {
      counted.bytes += onDisk(after) - onDisk(before);
      counted.files += fileOf(after) - fileOf(before);
    }
  }

  foldersChanged(change: number): void {
    for (const counted of [this.#counted, ...this.#walks]) counted.folders += change;
  }

  /** Counts all anew. What is found replaces the count at the end of the walk, if it comes to that. */
  beginWalk(): RecordCount {
    const walk: Counted = { bytes: 0, files: 0, folders: 0 };
    this.#walks.add(walk);
    return {
      found: (size) => {
        walk.bytes += onDisk(size);
        walk.files += fileOf(size);
      },
      foundFolders: (folders) => {
        walk.folders += folders;
      },
      end: () => {
        this.#counted = { ...walk };
      },
      [Symbol.dispose]: () => void this.#walks.delete(walk),
    };
  }
}

function onDisk(size: number | undefined): number {
  return size === undefined ? 0 : bytesOnDisk(size);
}

function fileOf(size: number | undefined): number {
  return size === undefined ? 0 : 1;
}
