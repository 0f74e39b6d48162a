import { randomBytes } from 'node:crypto';
import { dirname } from 'node:path';
import { refusesForNow } from '../../mirror/ports/blob-store.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import { failedWith, type FileSystem } from './file-system.ts';

export interface RemovalReserveDeps {
  /** Its file, on the disk of the index. */
  readonly file: string;
  readonly files: Pick<FileSystem, 'freeSpace' | 'open' | 'stat' | 'unlink'>;
  readonly observer: Pick<Observer, 'internalError'>;
  /** The bound of the store. */
  readonly maxBytes: number;
  /** Resolves when this process may write to the store. @throws when it may not. */
  readonly hold: () => Promise<void>;
}

/** As long as SQLite's write-ahead log gets before it is written from its beginning again. */
const mostBytes = 4 * 1024 * 1024;
/** What it takes at most, of the disk and of the bound of the store. */
const shareOfDisk = 1 / 32;
const shareOfStore = 1 / 64;
/** It is made when so many times its size are free, so that it is not made and removed in turn. */
const freeToBeMade = 4;
/** Less would not be enough for a removal. */
const leastRetakenBytes = 64 * 1024;

/**
 * A file that is only there to be removed: nothing can be removed from the index without writing to its log, so a disk without a free byte
 * could never be emptied. It has random bytes, since a file system may compress others to nothing.
 */
export class RemovalReserve {
  readonly #deps: RemovalReserveDeps;

  constructor(deps: RemovalReserveDeps) {
    this.#deps = deps;
  }

  /** To be called before the index is opened, or something is removed: gives the room back if the disk has less. @returns whether it did. */
  async giveBack(): Promise<boolean> {
    let wasGivenBack = false;
    await this.#reporting(async () => {
      wasGivenBack = await this.#givenBack();
    });
    return wasGivenBack;
  }

  /** To be called now and then: takes the room when there is plenty. On a full disk it is kept: only a removal needs it. */
  prepare(): Promise<void> {
    return this.#reporting(() => this.#makeIfPlenty());
  }

  /** To be called after something was removed: takes half of what is free now, before another program takes it, so that more can be removed. */
  retake(): Promise<void> {
    return this.#reporting(async () => {
      const { files, file, hold } = this.#deps;
      if ((await this.#heldBytes()) !== undefined) return;
      const { bytes: freeBytes, sizeBytes } = await files.freeSpace(dirname(file));
      const bytes = Math.min(this.#bytesOn(sizeBytes), wholeBlocks(freeBytes / 2));
      if (bytes < leastRetakenBytes) return;
      await hold();
      await this.#make(bytes);
    });
  }

  async #givenBack(): Promise<boolean> {
    const { files, file, hold } = this.#deps;
    const { bytes: freeBytes, sizeBytes } = await files.freeSpace(dirname(file));
    if (freeBytes >= this.#bytesOn(sizeBytes) || (await this.#heldBytes()) === undefined) return false;
    await hold();
    await files.unlink(file);
    return true;
  }

  async #makeIfPlenty(): Promise<void> {
    const { files, file, hold } = this.#deps;
    const { bytes: freeBytes, sizeBytes } = await files.freeSpace(dirname(file));
    const bytes = this.#bytesOn(sizeBytes);
    const heldBytes = await this.#heldBytes();
    if (heldBytes === bytes || freeBytes < freeToBeMade * bytes) return;
    await hold();
    if (heldBytes !== undefined) await files.unlink(file);
    await this.#make(bytes);
  }

  async #reporting(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (cause) {
      if (failedWith(cause, 'ENOENT') || refusesForNow(cause)) return; // The index makes its folder.
      this.#deps.observer.internalError({ part: 'store', cause });
    }
  }

  #bytesOn(diskBytes = Infinity): number {
    const bytes = Math.min(mostBytes, diskBytes * shareOfDisk, this.#deps.maxBytes * shareOfStore);
    return wholeBlocks(bytes);
  }

  async #heldBytes(): Promise<number | undefined> {
    try {
      return (await this.#deps.files.stat(this.#deps.file)).size;
    } catch (cause) {
      if (failedWith(cause, 'ENOENT')) return undefined;
      throw cause;
    }
  }

  /** It is not synced: a disk whose syncs hang would hold one more of Node's few threads for files. */
  async #make(bytes: number): Promise<void> {
    if (bytes === 0) return;
    const file = await this.#deps.files.open(this.#deps.file, 'create');
    try {
      for (let at = 0; at < bytes; ) at += await file.write([randomBytes(Math.min(bytes - at, 256 * 1024))], at);
    } finally {
      await file.close();
    }
  }
}

function wholeBlocks(bytes: number): number {
  return Math.floor(bytes / 4096) * 4096;
}
