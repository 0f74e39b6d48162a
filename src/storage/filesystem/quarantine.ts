import { join } from 'node:path';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Digest } from '../../oci/digest.ts';
import { quarantineFolder, quarantinePath } from '../layout.ts';
import type { DurableFolders } from './durable-folders.ts';
import { failedWith, type FileCount, filesBelow, type FileSystem } from './file-system.ts';

export interface QuarantineLimits {
  readonly maxFiles: number;
  readonly maxBytes: number;
}

/** Enough to find out what went wrong. */
export const defaultQuarantineLimits: QuarantineLimits = { maxFiles: 8, maxBytes: 1024 ** 3 };

export interface QuarantineDeps {
  /** The storage path. */
  readonly path: string;
  readonly files: FileSystem;
  readonly folders: DurableFolders;
  readonly clock: Clock;
  readonly limits: QuarantineLimits;
  /** Of the files in quarantine. */
  readonly count: FileCount;
}

/** Stored files with the wrong size or bytes, kept for inspection. Bounded: the oldest are removed first. */
export class Quarantine {
  readonly #deps: QuarantineDeps;
  /** Sizes by path, oldest first. */
  readonly #sizes = new Map<string, number>();

  constructor(deps: QuarantineDeps) {
    this.#deps = deps;
  }

  /** Counts the files that an earlier process quarantined. */
  async prepare(): Promise<void> {
    const { path, files } = this.#deps;
    const names = await Array.fromAsync(filesBelow(files, path, quarantineFolder));
    for (const name of names.toSorted()) {
      const file = join(path, name);
      this.#count(file, (await files.stat(file)).size);
    }
    await this.#removeOldest();
  }

  /** Moves a stored file into quarantine, unless that has just happened. */
  async take(file: string, digest: Digest, size: number): Promise<void> {
    const to = join(this.#deps.path, quarantinePath(digest, this.#deps.clock.now()));
    try {
      await this.#deps.folders.place(file, to);
    } catch (error) {
      if (failedWith(error, 'ENOENT')) return;
      throw error;
    }
    this.#count(to, size);
    await this.#removeOldest();
  }

  #count(file: string, size: number): void {
    this.#deps.count.bytes += size - (this.#sizes.get(file) ?? 0);
    this.#sizes.set(file, size);
    this.#deps.count.files = this.#sizes.size;
  }

  async #removeOldest(): Promise<void> {
    const { limits, folders, count } = this.#deps;
    for (const [file, size] of this.#sizes) {
      if (count.files <= limits.maxFiles && count.bytes <= limits.maxBytes) return;
      this.#sizes.delete(file);
      count.files -= 1;
      count.bytes -= size;
      await folders.remove(file);
    }
  }
}
