import { join } from 'node:path';
import pLimit from 'p-limit';
import type {
  BlobStore,
  CorruptionSource,
  FreeSpace,
  IncomingBlob,
  PartialDownload,
  StoredBlob,
} from '../../mirror/ports/blob-store.ts';
import { parallel } from '../../mirror/concurrency/parallel.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import { algorithmOf, type Digest, digestOf } from '../../oci/digest.ts';
import { blobFolders, blobPath, blobsFolder, digestAt } from '../layout.ts';
import type { BeginChange, ChangeJournal } from './change-journal.ts';
import { DurableFolders } from './durable-folders.ts';
import type { FailpointHook } from './failpoints.ts';
import {
  failedWith,
  type FileCount,
  filesBelowAll,
  type FileStatus,
  type FileSystem,
  nodeFiles,
  type OpenFile,
  readUpTo,
} from './file-system.ts';
import {
  type IncomingBlobDeps,
  IncomingBlobFile,
  createIncomingFile,
  type IncomingFile,
  type IncomingFileDeps,
  reopenIncomingFile,
} from './incoming/incoming-file.ts';
import { PartialDownloads } from './incoming/partial-downloads.ts';
import { prepareFolders } from './prepare.ts';
import { defaultQuarantineLimits, Quarantine, type QuarantineLimits } from './quarantine.ts';
import { StoredFile } from './stored-file.ts';

/** While content is listed. One by one, each file would wait for its own call of the disk. */
const statusesTogether = 16;

export interface FileBlobStoreDeps {
  /** The storage path, absolute. */
  readonly path: string;
  readonly observer: Pick<Observer, 'corruptionFound' | 'internalError'>;
  readonly clock: Clock;
  readonly failpoint: FailpointHook | undefined;
  readonly files?: FileSystem;
  readonly quarantineLimits?: QuarantineLimits;
  /** Resolves when this process may write to the store; absent: at once. @throws when it may not. */
  readonly hold?: () => Promise<void>;
  /** Changes are noted there before they are made; absent: they are not. */
  readonly changes?: Pick<ChangeJournal, 'begin' | 'beginRemoval'> | undefined;
}

/** Content as files named after their digest; see layout.ts. */
export class FileBlobStore implements BlobStore {
  readonly #path: string;
  readonly #observer: FileBlobStoreDeps['observer'];
  readonly #failpoint: FailpointHook | undefined;
  readonly #hold: () => Promise<void>;
  readonly #files: FileSystem;
  readonly #changes: FileBlobStoreDeps['changes'];
  readonly #folders: DurableFolders;
  readonly #quarantine: Quarantine;
  readonly #partials: PartialDownloads;
  readonly #checkpointTurns = pLimit(1);
  readonly #readers = new Map<Digest, number>();
  readonly #incoming: FileCount = { files: 0, bytes: 0 };
  readonly #left: FileCount = { files: 0, bytes: 0 };
  readonly #quarantined: FileCount = { files: 0, bytes: 0 };

  constructor(deps: FileBlobStoreDeps) {
    const { path, observer, clock, failpoint, files = nodeFiles, quarantineLimits, hold = async () => {} } = deps;
    this.#path = path;
    this.#observer = observer;
    this.#failpoint = failpoint;
    this.#hold = hold;
    this.#files = files;
    this.#changes = deps.changes;
    this.#folders = new DurableFolders({ files });
    const limits = quarantineLimits ?? defaultQuarantineLimits;
    const shared = { path, files, folders: this.#folders, clock };
    this.#quarantine = new Quarantine({ ...shared, limits, count: this.#quarantined });
    this.#partials = new PartialDownloads({ ...shared, observer, count: this.#left });
  }

  /**
   * Creates the store's folders, and removes what an earlier process was writing, except partial downloads that can be resumed. Only
   * one process may use a store: start the index, which is locked, first.
   * If the disk accepts no writes now, that is reported, and missing folders are created when the first content is stored.
   * @throws Error that names the path which cannot be written to.
   */
  async prepare(): Promise<void> {
    const sweep = async (): Promise<void> => {
      await this.#quarantine.prepare();
      await this.#partials.prepare();
    };
    const [path, files, folders, observer] = [this.#path, this.#files, this.#folders, this.#observer];
    await prepareFolders({ path, files, folders, observer, sweep });
  }

  async open(digest: Digest, expectedSize?: number): Promise<StoredBlob | undefined> {
    const opened = await this.#open(digest);
    if (!opened) return undefined;
    if (expectedSize === undefined || opened.size === expectedSize) return opened;
    await opened[Symbol.asyncDispose]();
    await this.#takeAway(digest, opened.size, 'read');
    return undefined;
  }

  /** @returns undefined also for content larger than `maxBytes`, which stays stored. */
  async readAll(digest: Digest, maxBytes: number): Promise<Uint8Array | undefined> {
    const bytes = await this.#readWhole(digest, maxBytes);
    if (!bytes || digestOf(bytes, algorithmOf(digest)) === digest) return bytes;
    await this.#takeAway(digest, bytes.byteLength, 'read');
    return undefined;
  }

  async create(digest: Digest, upstream: string): Promise<IncomingBlob> {
    return new IncomingBlobFile(this.#incomingDeps(digest, upstream), await this.#createFile());
  }

  /** A partial download that cannot be opened is removed. */
  async takePartial(digest: Digest, upstream: string): Promise<PartialDownload | undefined> {
    if (this.#left.files === 0) return undefined;
    const left = this.#partials.take({ blob: digest, upstream });
    if (!left) return undefined;
    const { path, checkpoint } = left;
    try {
      const file = await reopenIncomingFile(this.#fileDeps(), { path, size: checkpoint.bytes });
      return { incoming: new IncomingBlobFile(this.#incomingDeps(digest, upstream), file, checkpoint), checkpoint };
    } catch (cause) {
      this.#observer.internalError({ part: 'store', cause });
      await this.#partials.remove(left);
      return undefined;
    }
  }

  async dropPartial(options: { readonly bytes: number; readonly leftBeforeMs: number }): Promise<number> {
    if (this.#left.files === 0) return 0;
    await this.#hold();
    return this.#partials.drop(options);
  }

  async put(digest: Digest, bytes: Uint8Array): Promise<void> {
    await using file = await this.#createFile();
    await file.append([bytes]);
    await file.publish(this.#pathOf(digest), this.#beginOf(digest));
  }

  async remove(digest: Digest): Promise<void> {
    await this.#hold();
    using change = this.#changes?.beginRemoval(digest);
    await change?.noted;
    await this.#folders.remove(this.#pathOf(digest));
  }

  async quarantine(digest: Digest, source: CorruptionSource): Promise<void> {
    const blob = await this.#open(digest);
    await blob?.[Symbol.asyncDispose]();
    if (blob) await this.#takeAway(digest, blob.size, source);
  }

  isBeingRead(digest: Digest): boolean {
    return this.#readers.has(digest);
  }

  /** Size and time of a stored file; undefined if there is none. @throws the disk's error. */
  statusOf(digest: Digest): Promise<FileStatus | undefined> {
    return this.#statusOf(blobPath(digest));
  }

  async *list(which?: {
    readonly startingWith: string;
  }): AsyncIterable<{ readonly digest: Digest; readonly size: number; readonly modifiedAtMs: number }> {
    const report = (cause: unknown): undefined => {
      this.#observer.internalError({ part: 'store', cause });
    };
    const paths = filesBelowAll(this.#files, this.#path, which ? blobFolders(which.startingWith) : [blobsFolder]);
    const listed = parallel(paths, statusesTogether, async (path) => {
      const digest = digestAt(path);
      const status = digest && (await this.#statusOf(path).catch(report));
      return status && { digest, ...status };
    });
    for await (const blob of listed) if (blob) yield blob;
  }

  partialBytes(): number {
    return this.#left.bytes;
  }

  pendingBytes(): number {
    return this.#incoming.bytes + this.#left.bytes + this.#quarantined.bytes;
  }

  pendingFiles(): number {
    return this.#incoming.files + this.#left.files + this.#quarantined.files;
  }

  /** How many files are in quarantine. */
  quarantinedFiles(): number {
    return this.#quarantined.files;
  }

  freeSpace(): Promise<FreeSpace> {
    return this.#files.freeSpace(this.#path);
  }

  #pathOf(digest: Digest): string {
    return join(this.#path, blobPath(digest));
  }

  #createFile(): Promise<IncomingFile> {
    return createIncomingFile(this.#fileDeps());
  }

  #incomingDeps(digest: Digest, upstream: string): IncomingBlobDeps {
    const [partials, turns, begin] = [this.#partials, this.#checkpointTurns, this.#beginOf(digest)];
    return { ...this.#fileDeps(), digest, upstream, partials, turns, begin };
  }

  #beginOf(digest: Digest): BeginChange {
    const changes = this.#changes;
    return changes && (() => changes.begin(digest));
  }

  #fileDeps(): IncomingFileDeps {
    return {
      path: this.#path,
      files: this.#files,
      folders: this.#folders,
      observer: this.#observer,
      failpoint: this.#failpoint,
      hold: this.#hold,
      kind: 'blob',
      count: this.#incoming,
    };
  }

  /** Counts as a reader before the file is opened, so that it is not evicted in between. */
  async #open(digest: Digest): Promise<StoredFile | undefined> {
    this.#readers.set(digest, (this.#readers.get(digest) ?? 0) + 1);
    const onClosed = (): void => this.#readerLeft(digest);
    try {
      const file = await this.#files.open(this.#pathOf(digest), 'read');
      return new StoredFile({ file, size: await sizeOf(file), onClosed, observer: this.#observer });
    } catch (error) {
      onClosed();
      if (failedWith(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  #readerLeft(digest: Digest): void {
    const others = (this.#readers.get(digest) ?? 0) - 1;
    if (others > 0) this.#readers.set(digest, others);
    else this.#readers.delete(digest);
  }

  async #readWhole(digest: Digest, maxBytes: number): Promise<Uint8Array | undefined> {
    await using blob = await this.#open(digest);
    if (!blob || blob.size > maxBytes) return undefined;
    return await readUpTo(blob.size, blob);
  }

  /** The content is not served, even if the file cannot be moved. */
  async #takeAway(digest: Digest, size: number, source: CorruptionSource): Promise<void> {
    this.#observer.corruptionFound({ digest, source });
    try {
      await this.#hold();
      using change = this.#changes?.beginRemoval(digest);
      await change?.noted;
      await this.#quarantine.take(this.#pathOf(digest), digest, size);
    } catch (cause) {
      this.#observer.internalError({ part: 'store', cause });
    }
  }

  async #statusOf(path: string): Promise<FileStatus | undefined> {
    try {
      return await this.#files.stat(join(this.#path, path));
    } catch (cause) {
      if (failedWith(cause, 'ENOENT')) return undefined;
      throw cause;
    }
  }
}

async function sizeOf(file: OpenFile): Promise<number> {
  try {
    return (await file.status()).size;
  } catch (error) {
    await file.close();
    throw error;
  }
}
