import pLimit, { type LimitFunction } from 'p-limit';
import { dirname, join } from 'node:path';
import type { Observer } from '../../mirror/ports/observer.ts';
import {
  type DiskUse,
  type RecordKey,
  type RecordStore,
  type RecordFolders,
  blockBytes,
  bytesOnDisk,
} from '../../mirror/ports/record-store.ts';
import type { RepositoryId } from '../../mirror/ports/repository-id.ts';
import type { Digest } from '../../oci/digest.ts';
import { manifestRecordsPath, recordKeyAt, recordPath, repositoriesFolder } from '../layout.ts';
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
}

/** Records as JSON files; see layout.ts. Writes of one record take effect in the order of the calls. */
export class FileRecordStore implements RecordStore, RecordFolders {
  readonly #deps: Required<FileRecordStoreDeps>;
  readonly #folders: DurableFolders;
  readonly #use = new RecordUse();
  /** Runs the changes of each record one after another. */
  readonly #changes = new Map<string, LimitFunction>();

  constructor({ files = nodeFiles, hold = async () => {}, ...deps }: FileRecordStoreDeps) {
    this.#deps = { files, hold, ...deps };
    this.#folders = new DurableFolders({ files, onFolders: (change) => this.#use.foldersChanged(change) });
  }

  async read(key: RecordKey): Promise<unknown> {
    const bytes = await this.#readFile(this.#pathOf(key));
    return bytes && this.#parse(key, bytes);
  }

  write(key: RecordKey, value: object): Promise<void> {
    const bytes = Buffer.from(JSON.stringify(value));
    const path = this.#pathOf(key);
    return this.#inTurn(path, async () => {
      await this.#writeFile(path, bytes);
      if (!isIndexed(key)) this.#use.set(path, bytes.byteLength);
    });
  }

  remove(key: RecordKey): Promise<void> {
    const path = this.#pathOf(key);
    return this.#inTurn(path, async () => {
      await this.#deps.hold();
      await this.#folders.remove(path);
      this.#use.remove(path);
      await this.#folders.removeEmpty(dirname(path), join(this.#deps.path, repositoriesFolder));
    });
  }

  async *list(): AsyncIterable<RecordKey> {
    const { files, path: root } = this.#deps;
    const count = this.#use.countFolders();
    for await (const path of filesBelow(files, root, repositoriesFolder, count.onFolder)) {
      const key = recordKeyAt(path);
      if (key && !isIndexed(key)) await this.#count(join(root, path));
      if (key) yield key;
    }
    count.end();
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

  /** Skips records that were written or removed since they were listed. */
  async #count(path: string): Promise<void> {
    if (this.#use.has(path)) return;
    try {
      const { size } = await this.#deps.files.stat(path);
      if (!this.#changes.has(path)) this.#use.set(path, size);
    } catch (cause) {
      if (!failedWith(cause, 'ENOENT')) this.#deps.observer.internalError({ part: 'records', cause });
    }
  }

  #pathOf(key: RecordKey): string {
    return join(this.#deps.path, recordPath(key));
  }

  async #writeFile(path: string, bytes: Uint8Array): Promise<void> {
    await using file = await createIncomingFile({ ...this.#deps, folders: this.#folders, kind: 'record' });
    await file.append([bytes]);
    await file.publish(path);
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

/** Counts the disk use of the records' folders, and of the records that no index counts. */
export class RecordUse {
  /** Bytes on the disk by path. */
  readonly #sizes = new Map<string, number>();
  #bytes = 0;
  #folders = 0;

  get total(): DiskUse {
    const folders = Math.max(0, this.#folders);
    return { bytes: this.#bytes + folders * blockBytes, files: this.#sizes.size + folders };
  }

  has(path: string): boolean {
    return this.#sizes.has(path);
  }

  set(path: string, size: number): void {
    this.remove(path);
    this.#sizes.set(path, bytesOnDisk(size));
    this.#bytes += bytesOnDisk(size);
  }

  remove(path: string): void {
    this.#bytes -= this.#sizes.get(path) ?? 0;
    this.#sizes.delete(path);
  }

  foldersChanged(change: number): void {
    this.#folders += change;
  }

  /** Counts the folders of a walk. A folder that is created or removed during the walk may be counted wrongly until the next walk. */
  countFolders(): { readonly onFolder: () => void; readonly end: () => void } {
    const before = this.#folders;
    let found = 0;
    return {
      onFolder: () => {
        found += 1;
      },
      end: () => {
        this.#folders += found - before;
      },
    };
  }
}
