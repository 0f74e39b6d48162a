import { join } from 'node:path';
import { createIncomingFile, type IncomingFileDeps } from './incoming/incoming-file.ts';
import { failedWith, type OpenFile, readUpTo } from './file-system.ts';

export interface StateFileDeps extends Omit<IncomingFileDeps, 'kind' | 'count'> {
  /** Its name in the storage path. */
  readonly name: string;
  /** A longer file was not written by this program. */
  readonly maxBytes: number;
}

/** A small file in the storage path that is replaced as a whole: after a crash it has its old bytes or the new ones. */
export class StateFile {
  readonly #deps: StateFileDeps;

  constructor(deps: StateFileDeps) {
    this.#deps = deps;
  }

  /** @returns undefined if it does not exist. @throws the disk's error, or TooLong. */
  async read(): Promise<Buffer | undefined> {
    const { name, maxBytes } = this.#deps;
    const file = await this.#open();
    if (!file) return undefined;
    try {
      const { size } = await file.status();
      if (size > maxBytes) throw new TooLong(name, size);
      return await readUpTo(size, file);
    } finally {
      await file.close();
    }
  }

  /** Concurrent calls take effect in any order. @throws the disk's error; then the old bytes are still there. */
  async write(bytes: Uint8Array): Promise<void> {
    await using file = await createIncomingFile({ ...this.#deps, kind: 'record' });
    await file.append([bytes]);
    await file.publish(this.#path);
  }

  get #path(): string {
    return join(this.#deps.path, this.#deps.name);
  }

  async #open(): Promise<OpenFile | undefined> {
    try {
      return await this.#deps.files.open(this.#path, 'read');
    } catch (cause) {
      if (failedWith(cause, 'ENOENT')) return undefined;
      throw cause;
    }
  }
}

/** The disk can read the file, but this program has not written it. */
export class TooLong extends Error {
  override readonly name = 'TooLong';

  constructor(file: string, bytes: number) {
    super(`${file} has ${bytes} bytes, which is more than this program writes`);
  }
}
