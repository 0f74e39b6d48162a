import { randomUUID } from 'node:crypto';
import { dirname, join } from 'node:path';
import { type FileSystem, failedWith } from './file-system.ts';

/** How often a folder that vanished between making and using it is made again. */
const maxAttempts = 5;

/**
 * Puts files where they belong, making the folders on the way, such that power loss takes nothing back once `sync` has resolved:
 * a new folder counts as made when the folder above it is on the disk too, for everybody who uses it.
 */
export class DurableFolders {
  readonly #files: FileSystem;
  readonly #onFolders: (change: number) => void;
  /** Folders whose entry above them is not on the disk yet. */
  readonly #beingMade = new Map<string, Promise<void>>();
  /** Folders that something is about to be put into: neither they nor those above them are removed. */
  readonly #wanted = new Set<{ readonly folder: string }>();

  /** @param onFolders is told how many folders were made, or with a negative number removed. */
  constructor({ files, onFolders = () => {} }: { files: FileSystem; onFolders?: (change: number) => void }) {
    this.#files = files;
    this.#onFolders = onFolders;
  }

  /** Renames a file to where a folder may be missing. */
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

  /** Makes a folder and those above it. */
  make(folder: string): Promise<void> {
    const running = this.#beingMade.get(folder);
    if (running) return running;
    const made = this.#make(folder).finally(() => this.#beingMade.delete(folder));
    this.#beingMade.set(folder, made);
    return made;
  }

  /** @throws Error when this process may not make files in a folder. A full disk is no reason. */
  mayChange(folder: string): Promise<void> {
    return this.#files.mayChange(folder);
  }

  /** Makes a file in a folder and removes it. @throws what the disk says to that. */
  async tryOut(folder: string): Promise<void> {
    const path = join(folder, randomUUID());
    const file = await this.#files.open(path, 'create');
    try {
      await file.write([Buffer.alloc(4096)], 0);
    } finally {
      await file.close();
      await this.remove(path);
    }
  }

  /** Brings the names in a folder to the disk. */
  async sync(folder: string): Promise<void> {
    const opened = await this.#files.open(folder, 'read');
    try {
      await opened.sync();
    } catch (error) {
      // Some network file systems know no fsync of folders (fsync(2): EINVAL); there is nothing more to do on them.
      if (!failedWith(error, 'EINVAL', 'ENOTSUP')) throw error;
    } finally {
      await opened.close();
    }
  }

  /** Removes a file, if it is there. */
  async remove(path: string): Promise<void> {
    try {
      await this.#files.unlink(path);
    } catch (error) {
      if (!failedWith(error, 'ENOENT')) throw error;
    }
  }

  /** Of the device and inode at `path`, which is not followed where it is a link; undefined where there is nothing. */
  async identity(path: string): Promise<string | undefined> {
    try {
      return (await this.#files.lstat(path)).identity;
    } catch (error) {
      if (failedWith(error, 'ENOENT', 'ENOTDIR')) return undefined;
      throw error;
    }
  }

  /** Bytes of a file; 0 where there is none. */
  async size(path: string): Promise<number> {
    try {
      return (await this.#files.stat(path)).size;
    } catch (error) {
      if (failedWith(error, 'ENOENT')) return 0;
      throw error;
    }
  }

  /** Removes a folder and those above it, below `top`, as far as they are empty and nothing is about to be put into them. */
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

  /** A removal that had begun before may take a folder away while it is made. */
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

  /** What can't be brought to the disk is unmade, so that whoever comes next makes it anew and does not take it for safe. */
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
