import { randomUUID } from 'node:crypto';
import { dirname, join } from 'node:path';
import type { LimitFunction } from 'p-limit';
import type { Observer } from '../../../mirror/ports/observer.ts';
import { incomingFolder, blobPath, checkpointPath } from '../../layout.ts';
import type { BeginChange } from '../change-journal.ts';
import type { DurableFolders } from '../durable-folders.ts';
import type { FailpointHook } from '../failpoints.ts';
import { type FileCount, type FileSystem, failedWith, type OpenFile } from '../file-system.ts';
import type { IncomingBlob, Checkpoint } from '../../../mirror/ports/blob-store.ts';
import type { Digest } from '../../../oci/digest.ts';
import type { PartialDownloads } from './partial-downloads.ts';
import { checkpointFileBytes } from './checkpoint-file.ts';

export interface IncomingFileDeps {
  /** The storage path. */
  readonly path: string;
  readonly files: FileSystem;
  readonly folders: DurableFolders;
  readonly observer: Pick<Observer, 'internalError'>;
  readonly failpoint: FailpointHook | undefined;
  /** The prefix of its failpoints' names. */
  readonly kind: 'blob' | 'record' | 'checkpoint';
  /** Of the files that are being written. Absent: they are not counted. */
  readonly count?: FileCount;
  /** Resolves when this process may write to the store. */
  readonly hold: () => Promise<void>;
}

/** Creates a file in incoming/. It must be disposed. */
export async function createIncomingFile(deps: IncomingFileDeps): Promise<IncomingFile> {
  const path = join(deps.path, incomingFolder, randomUUID());
  const incoming = new IncomingFile(deps, { path, file: await newFile(path, deps), size: 0 });
  try {
    deps.failpoint?.(`${deps.kind}.created`);
    return incoming;
  } catch (error) {
    await incoming[Symbol.asyncDispose]();
    throw error;
  }
}

/** Creates a missing folder: creating it at start may have failed. */
async function newFile(path: string, { files, folders }: IncomingFileDeps): Promise<OpenFile> {
  try {
    return await files.open(path, 'create');
  } catch (error) {
    if (!failedWith(error, 'ENOENT')) throw error;
    await folders.make(dirname(path));
    return files.open(path, 'create');
  }
}

/** Opens a file in incoming/ that holds `size` bytes, to append to it. It must be disposed. */
export async function reopenIncomingFile(
  deps: IncomingFileDeps,
  { path, size }: { readonly path: string; readonly size: number },
): Promise<IncomingFile> {
  const file = await deps.files.open(path, 'change');
  if (deps.count) deps.count.bytes += size;
  return new IncomingFile(deps, { path, file, size });
}

/**
 * A file that is written under a temporary name, and gets its final name in one step.
 *
 *     create ─▶ append … ─▶ publish: fsync ─▶ rename ─▶ fsync of the folder
 *        │         └─▶ release ─┴─▶ dispose: closed, and removed unless it was renamed or released
 *        └─────────────────────────▲
 */
export class IncomingFile implements AsyncDisposable {
  readonly #deps: IncomingFileDeps;
  readonly path: string;
  readonly #file: OpenFile;
  #size: number;
  #syncFailure: { readonly cause: unknown } | undefined;
  #isKept = false;
  #isClosed = false;

  constructor(
    deps: IncomingFileDeps,
    { path, file, size }: { readonly path: string; readonly file: OpenFile; readonly size: number },
  ) {
    this.#deps = deps;
    this.path = path;
    this.#file = file;
    this.#size = size;
    if (deps.count) deps.count.files += 1;
  }

  get size(): number {
    return this.#size;
  }

  /** Appends all of `chunks`. After a failure none of them counts as written. */
  async append(chunks: readonly Uint8Array[]): Promise<void> {
    let position = this.#size;
    let rest = chunks.filter((chunk) => chunk.byteLength > 0);
    while (rest.length > 0) {
      const taken = await this.#file.write(rest, position);
      if (taken === 0) throw new Error(`write to ${this.path} returned 0 bytes`);
      position += taken;
      rest = without(taken, rest);
    }
    this.#countBytes(position - this.#size);
    this.#size = position;
  }

  /** Reads what `append` has written, also after `publish`. */
  async read(into: Uint8Array, position: number): Promise<number> {
    const length = Math.min(into.byteLength, this.#size - position);
    return length > 0 ? this.#file.read(into.subarray(0, length), position) : 0;
  }

  /**
   * Syncs what is written to the disk. After one failure it always fails: the kernel reports a lost write only once, and the next fsync
   * would succeed (https://wiki.postgresql.org/wiki/Fsync_Errors).
   */
  async sync(): Promise<void> {
    if (this.#syncFailure) throw this.#syncFailure.cause;
    try {
      await this.#file.sync();
    } catch (cause) {
      this.#syncFailure = { cause };
      throw cause;
    }
  }

  /** Makes the file visible and durable as `to`. */
  async publish(to: string, begin?: BeginChange): Promise<void> {
    const { failpoint, folders, kind, hold } = this.#deps;
    await hold();
    failpoint?.(`${kind}.written`);
    using change = begin?.();
    await Promise.all([this.sync(), change?.noted]);
    failpoint?.(`${kind}.synced`);
    await folders.place(this.path, to);
    this.#isKept = true;
    try {
      failpoint?.(`${kind}.renamed`);
      await folders.sync(dirname(to));
      failpoint?.(`${kind}.folder-synced`);
    } finally {
      // Not earlier: the caller counts the file as stored from here on, and it must be counted at every moment.
      this.#countBytes(-this.#size);
    }
  }

  /** Disposing then only closes the file. */
  release(): void {
    this.#isKept = true;
    this.#countBytes(-this.#size);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#deps.count) this.#deps.count.files -= 1;
    try {
      await this.#file.close();
      if (!this.#isKept) await this.#remove();
    } catch (cause) {
      this.#deps.observer.internalError({ part: 'store', cause });
    }
  }

  async #remove(): Promise<void> {
    await this.#deps.folders.remove(this.path);
    this.#countBytes(-this.#size);
  }

  #countBytes(change: number): void {
    if (this.#deps.count) this.#deps.count.bytes += change;
  }
}

/** `chunks` without their first `taken` bytes. */
function without(taken: number, chunks: readonly Uint8Array[]): Uint8Array[] {
  let skipped = 0;
  return chunks.flatMap((chunk) => {
    const from = Math.min(chunk.byteLength, Math.max(0, taken - skipped));
    skipped += chunk.byteLength;
    return from < chunk.byteLength ? [chunk.subarray(from)] : [];
  });
}

export interface IncomingBlobDeps extends IncomingFileDeps {
  readonly digest: Digest;
  /** The name of the upstream. */
  readonly upstream: string;
  readonly begin: BeginChange;
  readonly partials: PartialDownloads;
  /** Writes one checkpoint at a time: a sync blocks one of Node's four file threads for as long as the disk takes. */
  readonly turns: LimitFunction;
}

/**
 * A blob in incoming/, and the checkpoint beside it.
 *
 *     append … ─▶ checkpoint: wait for a turn ─▶ fsync of the blob ─▶ write, fsync and rename the checkpoint ─▶ fsync of the folder
 *
 * The checkpoint is written after the bytes that it covers, and removed before them. It never covers bytes that are not on the disk.
 */
export class IncomingBlobFile implements IncomingBlob {
  readonly #deps: IncomingBlobDeps;
  #file: IncomingFile;
  #checkpoint: Checkpoint | undefined;
  #mayHaveCheckpointFile: boolean;
  /** The checkpoint that is being written. */
  #checkpointing: Promise<void> | undefined;
  /** No further checkpoint is written. */
  #isOver = false;
  #isLeft = false;

  /** @param checkpoint the one that exists already. */
  constructor(deps: IncomingBlobDeps, file: IncomingFile, checkpoint?: Checkpoint) {
    this.#deps = deps;
    this.#file = file;
    this.#checkpoint = checkpoint;
    this.#mayHaveCheckpointFile = checkpoint !== undefined;
  }

  append(chunks: readonly Uint8Array[]): Promise<void> {
    return this.#file.append(chunks);
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return this.#file.read(into, position);
  }

  checkpoint(checkpoint: Checkpoint): Promise<void> {
    return this.#deps.turns(async () => {
      if (this.#isOver) return;
      this.#checkpointing = this.#writeCheckpoint(checkpoint);
      await this.#checkpointing;
    });
  }

  async leave(last?: Checkpoint): Promise<void> {
    await this.#endCheckpointing();
    if (last) await this.#writeCheckpoint(last);
    const checkpoint = this.#checkpoint;
    if (checkpoint?.bytes !== this.#file.size) return;
    this.#isLeft = true;
    this.#file.release();
    const { partials, digest: blob, upstream } = this.#deps;
    await partials.leave({ blob, upstream, checkpoint, path: this.#file.path });
  }

  async clear(): Promise<void> {
    await this.#checkpointing;
    await this.#removeCheckpoint();
    await this.#file[Symbol.asyncDispose]();
    this.#file = await createIncomingFile(this.#deps);
  }

  async commit(): Promise<void> {
    await this.#endCheckpointing();
    try {
      await this.#file.publish(join(this.#deps.path, blobPath(this.#deps.digest)), this.#deps.begin);
    } finally {
      await this.#removeCheckpoint();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#endCheckpointing();
    if (!this.#isLeft) await this.#removeCheckpoint();
    await this.#file[Symbol.asyncDispose]();
  }

  async #endCheckpointing(): Promise<void> {
    this.#isOver = true;
    await this.#checkpointing;
  }

  async #writeCheckpoint(checkpoint: Checkpoint): Promise<void> {
    const { observer, failpoint, digest: blob, upstream } = this.#deps;
    try {
      await this.#file.sync();
      failpoint?.('checkpoint.data-synced');
      await using file = await createIncomingFile({ ...this.#deps, kind: 'checkpoint' });
      await file.append([checkpointFileBytes({ blob, upstream, checkpoint })]);
      this.#mayHaveCheckpointFile = true;
      await file.publish(checkpointPath(this.#file.path));
      this.#checkpoint = checkpoint;
    } catch (cause) {
      observer.internalError({ part: 'store', cause });
    }
  }

  async #removeCheckpoint(): Promise<void> {
    this.#checkpoint = undefined;
    if (!this.#mayHaveCheckpointFile) return;
    this.#mayHaveCheckpointFile = false;
    const { folders, observer } = this.#deps;
    const report = (cause: unknown) => observer.internalError({ part: 'store', cause });
    await folders.remove(checkpointPath(this.#file.path)).catch(report);
  }
}
