import { basename, join } from 'node:path';
import type { Clock } from '../../../mirror/ports/clock.ts';
import type { Observer } from '../../../mirror/ports/observer.ts';
import type { Digest } from '../../../oci/digest.ts';
import { blobPath, incomingFolder, checkpointPath } from '../../layout.ts';
import type { DurableFolders } from '../durable-folders.ts';
import { failedWith, type FileCount, type FileSystem, readUpTo } from '../file-system.ts';
import {
  type BlobCheckpoint,
  type DownloadOf,
  maxCheckpointFileBytes,
  parseCheckpointFile,
} from './checkpoint-file.ts';

export interface PartialDownloadsDeps {
  /** The storage path. */
  readonly path: string;
  readonly files: FileSystem;
  readonly folders: DurableFolders;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'internalError'>;
  /** Of their files: each has two, the bytes and the checkpoint. Only the former's bytes count. */
  readonly count: FileCount;
}

/** A partial download in incoming/ that is not being written, cut to what its checkpoint covers. */
export interface PartialFile extends BlobCheckpoint {
  readonly path: string;
}

type Interrupted = PartialFile & { readonly interruptedAtMs: number };

/** The partial downloads in incoming/ that are not being written, those of earlier processes included. */
export class PartialDownloads {
  readonly #deps: PartialDownloadsDeps;
  /** Oldest first. */
  readonly #left = new Map<string, Interrupted>();

  constructor(deps: PartialDownloadsDeps) {
    this.#deps = deps;
  }

  /** Finds the partial downloads of earlier processes. Cuts each to what its checkpoint covers, and removes files without a valid checkpoint. */
  async prepare(): Promise<void> {
    const found = new Map<string, Interrupted>();
    for (const left of await this.#find()) {
      if ((found.get(partialKey(left))?.checkpoint.bytes ?? 0) < left.checkpoint.bytes)
        found.set(partialKey(left), left);
    }
    const kept = [...found.values()].toSorted((a, b) => a.interruptedAtMs - b.interruptedAtMs);
    await this.#sweepExcept(new Set(kept.flatMap(({ path }) => [basename(path), basename(checkpointPath(path))])));
    for (const left of kept) if (await this.#cut(left)) this.#keep(left);
  }

  /** Takes a partial download. The caller owns it from then on. */
  take(download: DownloadOf): PartialFile | undefined {
    const left = this.#left.get(partialKey(download));
    if (!left) return undefined;
    this.#left.delete(partialKey(download));
    this.#count(-1, left);
    return left;
  }

  /** Keeps a partial download. It replaces an earlier one of the same blob from the same upstream. */
  async leave(file: PartialFile): Promise<void> {
    const previous = this.take(file);
    this.#keep({ ...file, interruptedAtMs: this.#deps.clock.now() });
    if (previous) await this.remove(previous);
  }

  /** Removes all that were left before `leftBeforeMs`, then the oldest of the rest until `bytes` are free. @returns how many bytes that freed. */
  async drop({ bytes, leftBeforeMs }: { readonly bytes: number; readonly leftBeforeMs: number }): Promise<number> {
    let freedBytes = 0;
    for (const left of this.#left.values()) {
      if (freedBytes >= bytes && left.interruptedAtMs >= leftBeforeMs) break;
      this.take(left);
      if (await this.remove(left)) freedBytes += left.checkpoint.bytes;
    }
    return freedBytes;
  }

  /** Removes the checkpoint and then the bytes that it covers. @returns false if that failed: the next start removes the rest. */
  async remove({ path }: PartialFile): Promise<boolean> {
    const { folders, observer } = this.#deps;
    try {
      await folders.remove(checkpointPath(path));
      await folders.remove(path);
      return true;
    } catch (cause) {
      observer.internalError({ part: 'store', cause });
      return false;
    }
  }

  #keep(left: Interrupted): void {
    this.#left.set(partialKey(left), left);
    this.#count(1, left);
  }

  #count(change: 1 | -1, { checkpoint }: Interrupted): void {
    this.#deps.count.files += 2 * change;
    this.#deps.count.bytes += change * checkpoint.bytes;
  }

  async #find(): Promise<readonly Interrupted[]> {
    const found: Interrupted[] = [];
    for await (const name of this.#names()) {
      const left = await this.#leftAt(this.#pathOf(name));
      if (left) found.push(left);
    }
    return found;
  }

  async #sweepExcept(kept: ReadonlySet<string>): Promise<void> {
    const swept = (await Array.fromAsync(this.#names())).filter((name) => !kept.has(name));
    for (const name of swept) await this.#deps.folders.remove(this.#pathOf(name));
  }

  async *#names(): AsyncIterable<string> {
    const { path, files } = this.#deps;
    for await (const { name, kind } of files.entries(join(path, incomingFolder))) if (kind !== 'folder') yield name;
  }

  #pathOf(name: string): string {
    return join(this.#deps.path, incomingFolder, name);
  }

  /** @returns undefined also if the disk cannot read the checkpoint. */
  async #leftAt(path: string): Promise<Interrupted | undefined> {
    try {
      return await this.#read(path);
    } catch (cause) {
      if (!failedWith(cause, 'ENOENT')) this.#deps.observer.internalError({ part: 'store', cause });
      return undefined;
    }
  }

  /** @returns undefined unless the checkpoint is valid and the file holds all bytes that it covers. */
  async #read(path: string): Promise<Interrupted | undefined> {
    const { files } = this.#deps;
    const file = await files.open(checkpointPath(path), 'read');
    try {
      const { modifiedAtMs } = await file.status();
      const found = parseCheckpointFile(await readUpTo(maxCheckpointFileBytes, file));
      const isCovered = found && (await files.stat(path)).size >= found.checkpoint.bytes;
      return isCovered && !(await this.#isStored(found.blob))
        ? { ...found, path, interruptedAtMs: modifiedAtMs }
        : undefined;
    } finally {
      await file.close();
    }
  }

  /** After power loss a renamed file may still have both names: cutting it here would cut the stored blob. */
  async #isStored(blob: Digest): Promise<boolean> {
    try {
      await this.#deps.files.stat(join(this.#deps.path, blobPath(blob)));
      return true;
    } catch (cause) {
      if (failedWith(cause, 'ENOENT')) return false;
      throw cause;
    }
  }

  /** Cuts off the bytes behind the checkpoint, which may be damaged. @returns false if that failed and the file was removed. */
  async #cut(left: Interrupted): Promise<boolean> {
    const { files, observer } = this.#deps;
    try {
      const file = await files.open(left.path, 'change');
      try {
        await file.truncate(left.checkpoint.bytes);
      } finally {
        await file.close();
      }
      return true;
    } catch (cause) {
      observer.internalError({ part: 'store', cause });
      await this.remove(left);
      return false;
    }
  }
}

function partialKey({ blob, upstream }: DownloadOf): string {
  return `${upstream}@${blob}`;
}
