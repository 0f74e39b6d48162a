import { randomUUID } from 'node:crypto';
import { dirname, join } from 'node:path';
import type { Observer } from '../../../mirror/ports/observer.ts';
import { incomingFolder } from '../../layout.ts';
import type { DurableFolders } from '../durable-folders.ts';
import type { FailpointHook } from '../failpoints.ts';
import { type FileSystem, failedWith, type OpenFile } from '../file-system.ts';

export interface IncomingFileDeps {
  /** The storage path. */
  readonly path: string;
  readonly files: FileSystem;
  readonly folders: DurableFolders;
  readonly observer: Pick<Observer, 'trouble'>;
  readonly failpoint: FailpointHook;
  /** What is written, as its steps name it. */
  readonly kind: 'blob' | 'record' | 'mark';
  /** Told when bytes begin, or with a negative number cease, to lie in incoming/. */
  readonly onBytes?: (change: number) => void;
  /** Told when a file is opened for writing, and with -1 when that is over. */
  readonly onFiles?: (change: 1 | -1) => void;
  /** Resolves when this process may put something into the store. */
  readonly hold: () => Promise<void>;
}

/** Creates a file in incoming/. It must be disposed. */
export async function createIncomingFile(deps: IncomingFileDeps): Promise<IncomingFile> {
  const path = join(deps.path, incomingFolder, randomUUID());
  const incoming = new IncomingFile(deps, { path, file: await newFile(path, deps), size: 0 });
  try {
    deps.failpoint(`${deps.kind}.created`);
    return incoming;
  } catch (error) {
    await incoming[Symbol.asyncDispose]();
    throw error;
  }
}

/** The folder is missing where the disk refused it at start. */
async function newFile(path: string, { files, folders }: IncomingFileDeps): Promise<OpenFile> {
  try {
    return await files.open(path, 'create');
  } catch (error) {
    if (!failedWith(error, 'ENOENT')) throw error;
    await folders.make(dirname(path));
    return files.open(path, 'create');
  }
}

/** Opens a file in incoming/ that holds `size` bytes, to write on behind them. It must be disposed. */
export async function reopenIncomingFile(
  deps: IncomingFileDeps,
  { path, size }: { readonly path: string; readonly size: number },
): Promise<IncomingFile> {
  const file = await deps.files.open(path, 'change');
  deps.onBytes?.(size);
  return new IncomingFile(deps, { path, file, size });
}

/**
 * A file that is written under a temporary name, and appears under its own at once or not at all.
 *
 *     create ─▶ append … ─▶ publish: fsync ─▶ rename ─▶ fsync of the folder
 *        │         └─▶ let be ──┴─▶ dispose: closed, and removed unless it was renamed or is let be
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
    deps.onFiles?.(1);
  }

  get size(): number {
    return this.#size;
  }

  /** Writes all of `chunks` behind what is there. After a failure nothing of them counts as written. */
  async append(chunks: readonly Uint8Array[]): Promise<void> {
    let position = this.#size;
    let rest = chunks.filter((chunk) => chunk.byteLength > 0);
    while (rest.length > 0) {
      const taken = await this.#file.write(rest, position);
      if (taken === 0) throw new Error(`the disk took none of the bytes for ${this.path}`);
      position += taken;
      rest = without(taken, rest);
    }
    this.#deps.onBytes?.(position - this.#size);
    this.#size = position;
  }

  /** Reads back what `append` has written, before and after it was published. */
  async read(into: Uint8Array, position: number): Promise<number> {
    const length = Math.min(into.byteLength, this.#size - position);
    return length > 0 ? this.#file.read(into.subarray(0, length), position) : 0;
  }

  /**
   * Brings what is written to the disk. Once that has failed it fails for good: the system tells of a lost write only once, and would
   * call the next try a success (https://wiki.postgresql.org/wiki/Fsync_Errors).
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

  /** Makes the file visible as `to`, for good. */
  async publish(to: string): Promise<void> {
    const { failpoint, folders, kind, hold } = this.#deps;
    await hold();
    failpoint(`${kind}.written`);
    await this.sync();
    failpoint(`${kind}.synced`);
    await folders.place(this.path, to);
    this.#isKept = true;
    try {
      failpoint(`${kind}.renamed`);
      await folders.sync(dirname(to));
      failpoint(`${kind}.folder-synced`);
    } finally {
      // Not before: from here on whoever published it counts it as stored, and in between nobody would.
      this.#deps.onBytes?.(-this.#size);
    }
  }

  /** From now on the file is somebody else's: disposing only closes it. */
  letBe(): void {
    this.#isKept = true;
    this.#deps.onBytes?.(-this.#size);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#deps.onFiles?.(-1);
    try {
      await this.#file.close();
      if (!this.#isKept) await this.#remove();
    } catch (cause) {
      this.#deps.observer.trouble({ part: 'store', cause });
    }
  }

  async #remove(): Promise<void> {
    await this.#deps.folders.remove(this.path);
    this.#deps.onBytes?.(-this.#size);
  }
}

/** What remains of `chunks` when their first `taken` bytes are written. */
function without(taken: number, chunks: readonly Uint8Array[]): Uint8Array[] {
  let skipped = 0;
  return chunks.flatMap((chunk) => {
    const from = Math.min(chunk.byteLength, Math.max(0, taken - skipped));
    skipped += chunk.byteLength;
    return from < chunk.byteLength ? [chunk.subarray(from)] : [];
  });
}
