import { access, readFile, writeFile } from 'node:fs/promises';
import type { FileUse, OpenFile } from '../../src/storage/filesystem/file-system.ts';
import { ScriptedFiles } from './scripted-files.ts';

/** A disk that keeps of every file only what was synced, but all names at once: the worst that POSIX allows. */
export class PowerLoss extends ScriptedFiles {
  hasFailed = false;
  /** What each file written here held when it was last synced. */
  readonly #synced = new Map<string, Buffer>();

  /** Lets so many calls through from now on; those after it fail. */
  failAfter(survivors: number): void {
    this.calls.length = 0;
    this.failWith = () => {
      this.hasFailed ||= this.calls.length > survivors;
      return this.hasFailed ? 'EIO' : undefined;
    };
  }

  /** Takes away what was not synced: the file ends there, or is as long as it was, of zeroes. */
  async lose(instead: 'nothing' | 'zeroes'): Promise<void> {
    for (const [path, content] of this.#synced) {
      if (!(await exists(path))) continue;
      const lost = instead === 'nothing' ? 0 : Math.max(0, (await readFile(path)).byteLength - content.byteLength);
      await writeFile(path, Buffer.concat([content, Buffer.alloc(lost)]));
    }
  }

  override async open(path: string, use: FileUse): Promise<OpenFile> {
    const file = await super.open(path, use);
    if (use !== 'create') return file;
    this.#synced.set(path, Buffer.alloc(0));
    const sync = async (): Promise<void> => {
      await file.sync();
      this.#synced.set(path, await readFile(path));
    };
    return { ...file, sync };
  }

  override async rename(from: string, to: string): Promise<void> {
    await super.rename(from, to);
    const content = this.#synced.get(from);
    this.#synced.delete(from);
    if (content) this.#synced.set(to, content);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}
