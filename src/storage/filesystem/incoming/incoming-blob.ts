import { join } from 'node:path';
import type { LimitFunction } from 'p-limit';
import type { IncomingBlob, Checkpoint } from '../../../mirror/ports/blob-store.ts';
import type { Digest } from '../../../oci/digest.ts';
import { blobPath, checkpointPath } from '../../layout.ts';
import { createIncomingFile, type IncomingFile, type IncomingFileDeps } from './incoming-file.ts';
import type { PartialDownloads } from './partial-downloads.ts';
import { checkpointFileBytes } from './checkpoint-file.ts';

export interface IncomingBlobDeps extends IncomingFileDeps {
  readonly digest: Digest;
  /** The name of the upstream. */
  readonly upstream: string;
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
      await this.#file.publish(join(this.#deps.path, blobPath(this.#deps.digest)));
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
      failpoint('checkpoint.data-synced');
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
    await folders
      .remove(checkpointPath(this.#file.path))
      .catch((cause: unknown) => observer.internalError({ part: 'store', cause }));
  }
}
