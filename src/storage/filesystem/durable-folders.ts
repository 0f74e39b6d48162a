import { dirname, join } from 'node:path';
import { type FileSystem, failedWith, type OpenFile } from './file-system.ts';

/** How often a folder is created again that was removed before it was used. */
const maxAttempts = 5;

/** Of a file that tries out a folder. No upstream has this name. It is always the same: one that a killed process has left is replaced and removed. */
export const probeName = '.probe';

/**
 * Renames files into folders, which it creates, so that nothing is lost in a power loss once `sync` has resolved: a new folder counts as
 * created, for every caller, when the entry in its parent is on the disk.
 */
export class DurableFolders {
  readonly #files: FileSystem;
  readonly #onFolders: (change: number) => void;
  /** Folders whose entry in the parent is not on the disk yet. */
  readonly #beingMade = new Map<string, Promise<void>>();
  /** Folders that a file is about to be renamed into: neither they nor their parents are removed. */
  readonly #wanted = new Set<{ readonly folder: string }>();

  /** @param onFolders gets the number of folders created, or a negative number of folders removed. */
  constructor({ files, onFolders = () => {} }: { files: FileSystem; onFolders?: (change: number) => void }) {
    this.#files = files;
    this.#onFolders = onFolders;
  }

  /** Renames a file, and creates the folder if it is missing. */
  async place(from: string, to: string): Promise<void> {
    const wanted = { folder: dirname(to) };
    this.#wanted.add(wanted);
    try {
      for (let attempt = 1; !(await this.#placed(from, to, attempt)); attempt += 1);
      await this.#beingMade.get(wanted.folder);
    } finally {
      this.#wanted.delete(wanted);
    }
  }

  /** Creates a folder and its parents. */
  make(folder: string): Promise<void> {
    const running = this.#beingMade.get(folder);
    if (running) return running;
    const made = this.#make(folder).finally(() => this.#beingMade.delete(folder));
    this.#beingMade.set(folder, made);
    return made;
  }

  /** @throws Error when this process has no permission to create files in a folder. A full disk is no error. */
  mayChange(folder: string): Promise<void> {
    return this.#files.mayChange(folder);
  }

  /** Creates a file in a folder and removes it, and one that a killed process has left. @throws the disk's error. */
  async tryOut(folder: string): Promise<void> {
    const path = join(folder, probeName);
    await this.remove(path);
    const file = await this.#files.open(path, 'create');
    try {
      await file.write([Buffer.alloc(4096)], 0);
    } finally {
      await file.close();
      await this.remove(path);
    }
  }

  /** Syncs the entries of a folder to the disk. */
  async sync(folder: string): Promise<void> {
    const opened = await this.#files.open(folder, 'read');
    try {
      await opened.sync();
    } catch (error) {
      // Some network file systems have no fsync of folders (fsync(2): EINVAL).
      if (!failedWith(error, 'EINVAL', 'ENOTSUP')) throw error;
    } finally {
      await opened.close();
    }
  }

  /** Syncs a folder, or the nearest of its parents that exists: what was removed from it stays removed in a power loss. */
  async syncNearest(folder: string): Promise<void> {
    try {
      await this.sync(folder);
    } catch (error) {
      if (!failedWith(error, 'ENOENT') || dirname(folder) === folder) throw error;
      await this.syncNearest(dirname(folder));
    }
  }

  /** Removes a file if it exists. */
  async remove(path: string): Promise<void> {
    try {
      await this.#files.unlink(path);
    } catch (error) {
      if (!failedWith(error, 'ENOENT')) throw error;
    }
  }

  /** Device and inode at `path`; links are not followed. Undefined if there is nothing. */
  async identity(path: string): Promise<string | undefined> {
    try {
      return (await this.#files.lstat(path)).identity;
    } catch (error) {
      if (failedWith(error, 'ENOENT', 'ENOTDIR')) return undefined;
      throw error;
    }
  }

  /** Bytes of a file; 0 if it does not exist. */
  async size(path: string): Promise<number> {
    try {
      return (await this.#files.stat(path)).size;
    } catch (error) {
      if (failedWith(error, 'ENOENT')) return 0;
      throw error;
    }
  }

  /** Opens a file, to sync it. */
  openForSync(path: string): Promise<Pick<OpenFile, 'sync' | 'close'>> {
    return this.#files.open(path, 'read');
  }

  /** Removes a folder and its parents below `top`, if they are empty and not about to be used. */
  async removeEmpty(folder: string, top: string): Promise<void> {
    try {
      for (let path = folder; path.startsWith(`${top}/`) && !this.#isWanted(path); path = dirname(path)) {
        await this.#rmdir(path);
      }
    } catch (error) {
      if (!failedWith(error, 'ENOTEMPTY', 'EEXIST', 'ENOENT')) throw error;
    }
  }

  #isWanted(path: string): boolean {
    return [...this.#wanted].some(({ folder }) => `${folder}/`.startsWith(`${path}/`));
  }

  /** A removal that began earlier may remove a folder while it is created. */
  async #placed(from: string, to: string, attempt: number): Promise<boolean> {
    try {
      if (attempt > 1) await this.make(dirname(to));
      await this.#files.rename(from, to);
      return true;
    } catch (error) {
      if (failedWith(error, 'ENOENT') && attempt < maxAttempts) return false;
      throw error;
    }
  }

  async #make(folder: string): Promise<void> {
    const parent = dirname(folder);
    await this.#beingMade.get(parent);
    try {
      await this.#mkdir(folder);
    } catch (error) {
      if (failedWith(error, 'EEXIST')) return;
      if (!failedWith(error, 'ENOENT') || parent === folder) throw error;
      await this.make(parent);
      await this.#mkdirBelow(folder);
    }
    await this.#syncEntry(folder, parent);
  }

  /** Removes a folder whose entry cannot be synced, so that the next caller creates it again and does not take it for durable. */
  async #syncEntry(folder: string, parent: string): Promise<void> {
    try {
      await this.sync(parent);
    } catch (error) {
      await this.#rmdir(folder).catch(() => {});
      throw error;
    }
  }

  async #mkdir(folder: string): Promise<void> {
    await this.#files.mkdir(folder);
    this.#onFolders(1);
  }

  async #rmdir(folder: string): Promise<void> {
    await this.#files.rmdir(folder);
    this.#onFolders(-1);
  }

  async #mkdirBelow(folder: string): Promise<void> {
    try {
      await this.#mkdir(folder);
    } catch (error) {
      if (!failedWith(error, 'EEXIST')) throw error;
    }
  }
}
