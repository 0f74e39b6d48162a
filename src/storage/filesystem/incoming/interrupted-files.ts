import { basename, join } from 'node:path';
import type { Clock } from '../../../mirror/ports/clock.ts';
import type { Observer } from '../../../mirror/ports/observer.ts';
import type { Digest } from '../../../oci/digest.ts';
import { blobPath, incomingFolder, markPath } from '../../layout.ts';
import type { DurableFolders } from '../durable-folders.ts';
import { failedWith, type FileSystem, readUpTo } from '../file-system.ts';
import { type BlobMark, type DownloadOf, maxMarkFileBytes, parseMarkFile } from './mark-file.ts';

export interface InterruptedFilesDeps {
  /** The storage path. */
  readonly path: string;
  readonly files: FileSystem;
  readonly folders: DurableFolders;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'trouble'>;
}

/** An unfinished blob in incoming/ that nobody writes, exactly as long as the mark beside it says. */
export interface InterruptedFile extends BlobMark {
  readonly path: string;
}

type Left = InterruptedFile & { readonly leftAtMs: number };

/** What interrupted downloads left in incoming/, of this process and of former ones. */
export class InterruptedFiles {
  readonly #deps: InterruptedFilesDeps;
  /** Oldest first. */
  readonly #left = new Map<string, Left>();
  #bytes = 0;

  constructor(deps: InterruptedFilesDeps) {
    this.#deps = deps;
  }

  /** A file and its mark for each. */
  get files(): number {
    return 2 * this.#left.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Finds what former processes were writing: what has a valid mark is cut to what that speaks of, everything else removed. */
  async prepare(): Promise<void> {
    const found = new Map<string, Left>();
    for (const left of await this.#findLeft()) {
      if ((found.get(downloadKey(left))?.mark.bytes ?? 0) < left.mark.bytes) found.set(downloadKey(left), left);
    }
    const kept = [...found.values()].toSorted((a, b) => a.leftAtMs - b.leftAtMs);
    await this.#sweepBut(new Set(kept.flatMap(({ path }) => [basename(path), basename(markPath(path))])));
    for (const left of kept) if (await this.#cut(left)) this.#keep(left);
  }

  /** Nobody else gets it: the caller writes it from now on. */
  take(download: DownloadOf): InterruptedFile | undefined {
    const left = this.#left.get(downloadKey(download));
    if (!left) return undefined;
    this.#left.delete(downloadKey(download));
    this.#bytes -= left.mark.bytes;
    return left;
  }

  /** Where two downloads of one blob from one upstream left something, the later counts. */
  async leave(file: InterruptedFile): Promise<void> {
    const former = this.take(file);
    this.#keep({ ...file, leftAtMs: this.#deps.clock.now() });
    if (former) await this.remove(former);
  }

  /** The oldest first: all that was left before `leftBeforeMs`, and more until `bytes` are free. @returns how many are. */
  async drop({ bytes, leftBeforeMs }: { readonly bytes: number; readonly leftBeforeMs: number }): Promise<number> {
    let freedBytes = 0;
    for (const left of this.#left.values()) {
      if (freedBytes >= bytes && left.leftAtMs >= leftBeforeMs) break;
      this.take(left);
      if (await this.remove(left)) freedBytes += left.mark.bytes;
    }
    return freedBytes;
  }

  /** The mark first: it must not speak of a file that is gone. @returns whether that succeeded; what stays goes at the next start. */
  async remove({ path }: InterruptedFile): Promise<boolean> {
    const { folders, observer } = this.#deps;
    try {
      await folders.remove(markPath(path));
      await folders.remove(path);
      return true;
    } catch (cause) {
      observer.trouble({ part: 'store', cause });
      return false;
    }
  }

  #keep(left: Left): void {
    this.#left.set(downloadKey(left), left);
    this.#bytes += left.mark.bytes;
  }

  async #findLeft(): Promise<readonly Left[]> {
    const found: Left[] = [];
    for await (const name of this.#names()) {
      const left = await this.#leftAt(this.#pathOf(name));
      if (left) found.push(left);
    }
    return found;
  }

  async #sweepBut(kept: ReadonlySet<string>): Promise<void> {
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

  /** A mark that the disk cannot read is none. */
  async #leftAt(path: string): Promise<Left | undefined> {
    try {
      return await this.#read(path);
    } catch (cause) {
      if (!failedWith(cause, 'ENOENT')) this.#deps.observer.trouble({ part: 'store', cause });
      return undefined;
    }
  }

  /** The file there with its mark, if that is valid and the file not shorter than it says. */
  async #read(path: string): Promise<Left | undefined> {
    const { files } = this.#deps;
    const file = await files.open(markPath(path), 'read');
    try {
      const { modifiedAtMs } = await file.status();
      const blobMark = parseMarkFile(await readUpTo(maxMarkFileBytes, file));
      const isCovered = blobMark && (await files.stat(path)).size >= blobMark.mark.bytes;
      return isCovered && !(await this.#isStored(blobMark.blob))
        ? { ...blobMark, path, leftAtMs: modifiedAtMs }
        : undefined;
    } finally {
      await file.close();
    }
  }

  /** After power loss a file that was renamed may have both its names; cutting it here would cut the stored blob. */
  async #isStored(blob: Digest): Promise<boolean> {
    try {
      await this.#deps.files.stat(join(this.#deps.path, blobPath(blob)));
      return true;
    } catch (cause) {
      if (failedWith(cause, 'ENOENT')) return false;
      throw cause;
    }
  }

  /** What was written after the mark was made may be anything. @returns whether it is gone; else the whole file is. */
  async #cut(left: Left): Promise<boolean> {
    const { files, observer } = this.#deps;
    try {
      const file = await files.open(left.path, 'change');
      try {
        await file.truncate(left.mark.bytes);
      } finally {
        await file.close();
      }
      return true;
    } catch (cause) {
      observer.trouble({ part: 'store', cause });
      await this.remove(left);
      return false;
    }
  }
}

function downloadKey({ blob, upstream }: DownloadOf): string {
  return `${upstream}@${blob}`;
}
