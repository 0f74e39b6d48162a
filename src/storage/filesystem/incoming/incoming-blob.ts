import { join } from 'node:path';
import type { LimitFunction } from 'p-limit';
import type { IncomingBlob, Mark } from '../../../mirror/ports/blob-store.ts';
import type { Digest } from '../../../oci/digest.ts';
import { blobPath, markPath } from '../../layout.ts';
import { createIncomingFile, type IncomingFile, type IncomingFileDeps } from './incoming-file.ts';
import type { InterruptedFiles } from './interrupted-files.ts';
import { markFileBytes } from './mark-file.ts';

export interface IncomingBlobDeps extends IncomingFileDeps {
  readonly digest: Digest;
  /** The name of who sends it. */
  readonly upstream: string;
  readonly interrupted: InterruptedFiles;
  /** Marks are made one at a time: Node has four threads for all files, and a sync holds one of them for as long as the disk takes. */
  readonly turns: LimitFunction;
}

/**
 * A blob in incoming/, and the mark beside it.
 *
 *     append … ─▶ mark: wait for a turn ─▶ fsync of the blob ─▶ write, fsync and rename the mark ─▶ fsync of the folder
 *
 * The mark is made after what it speaks of is on the disk, and removed before it: it is never ahead.
 */
export class IncomingBlobFile implements IncomingBlob {
  readonly #deps: IncomingBlobDeps;
  #file: IncomingFile;
  #mark: Mark | undefined;
  #mayHaveMarkFile: boolean;
  /** The mark that is being made, past its turn. */
  #marking: Promise<void> | undefined;
  /** No mark is begun any more. */
  #isOver = false;
  #isLeft = false;

  /** @param mark what there is already beside the file. */
  constructor(deps: IncomingBlobDeps, file: IncomingFile, mark?: Mark) {
    this.#deps = deps;
    this.#file = file;
    this.#mark = mark;
    this.#mayHaveMarkFile = mark !== undefined;
  }

  append(chunks: readonly Uint8Array[]): Promise<void> {
    return this.#file.append(chunks);
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return this.#file.read(into, position);
  }

  mark(mark: Mark): Promise<void> {
    return this.#deps.turns(async () => {
      if (this.#isOver) return;
      this.#marking = this.#makeMark(mark);
      await this.#marking;
    });
  }

  async leave(last?: Mark): Promise<void> {
    await this.#endMarking();
    if (last) await this.#makeMark(last);
    const mark = this.#mark;
    if (mark?.bytes !== this.#file.size) return;
    this.#isLeft = true;
    this.#file.letBe();
    const { interrupted, digest: blob, upstream } = this.#deps;
    await interrupted.leave({ blob, upstream, mark, path: this.#file.path });
  }

  async clear(): Promise<void> {
    await this.#marking;
    await this.#removeMark();
    await this.#file[Symbol.asyncDispose]();
    this.#file = await createIncomingFile(this.#deps);
  }

  async commit(): Promise<void> {
    await this.#endMarking();
    try {
      await this.#file.publish(join(this.#deps.path, blobPath(this.#deps.digest)));
    } finally {
      await this.#removeMark();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#endMarking();
    if (!this.#isLeft) await this.#removeMark();
    await this.#file[Symbol.asyncDispose]();
  }

  async #endMarking(): Promise<void> {
    this.#isOver = true;
    await this.#marking;
  }

  async #makeMark(mark: Mark): Promise<void> {
    const { observer, failpoint, digest: blob, upstream } = this.#deps;
    try {
      await this.#file.sync();
      failpoint('mark.data-synced');
      await using file = await createIncomingFile({ ...this.#deps, kind: 'mark' });
      await file.append([markFileBytes({ blob, upstream, mark })]);
      this.#mayHaveMarkFile = true;
      await file.publish(markPath(this.#file.path));
      this.#mark = mark;
    } catch (cause) {
      observer.trouble({ part: 'store', cause });
    }
  }

  async #removeMark(): Promise<void> {
    this.#mark = undefined;
    if (!this.#mayHaveMarkFile) return;
    this.#mayHaveMarkFile = false;
    const { folders, observer } = this.#deps;
    await folders
      .remove(markPath(this.#file.path))
      .catch((cause: unknown) => observer.trouble({ part: 'store', cause }));
  }
}
