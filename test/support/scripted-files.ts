import type { FreeSpace } from '../../src/mirror/ports/blob-store.ts';
import { type FileSystem, type FileUse, nodeFiles, type OpenFile } from '../../src/storage/filesystem/file-system.ts';

export interface FileCall {
  readonly operation: keyof FileSystem | Exclude<keyof OpenFile, 'status'> | 'fstat';
  readonly path: string;
}

/** A disk, by default the machine's, which writes down what it was asked, and fails where the test says. */
export class ScriptedFiles implements FileSystem {
  readonly calls: FileCall[] = [];
  /** The errno's name with which a call fails; undefined lets it through. */
  failWith: (call: FileCall) => string | undefined = () => undefined;
  /** How many bytes a single write takes at most. */
  maxWriteBytes = Infinity;
  /** Called before each operation goes to the disk. */
  before: (call: FileCall) => Promise<void> = async () => {};
  readonly #disk: FileSystem;

  constructor(disk: FileSystem = nodeFiles) {
    this.#disk = disk;
  }

  /** The disk fails to read a file until another file is renamed over it. */
  failToReadUntilReplaced(path: string): void {
    let isReplaced = false;
    this.failWith = (call) => {
      if (call.path !== path) return undefined;
      if (call.operation === 'rename') isReplaced = true;
      return call.operation === 'read' && !isReplaced ? 'EIO' : undefined;
    };
  }

  async open(path: string, use: FileUse): Promise<OpenFile> {
    return this.#ask('open', path, async () => this.#watch(path, await this.#disk.open(path, use)));
  }

  mkdir(path: string): Promise<void> {
    return this.#ask('mkdir', path, () => this.#disk.mkdir(path));
  }

  rmdir(path: string): Promise<void> {
    return this.#ask('rmdir', path, () => this.#disk.rmdir(path));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#ask('rename', to, () => this.#disk.rename(from, to));
  }

  unlink(path: string): Promise<void> {
    return this.#ask('unlink', path, () => this.#disk.unlink(path));
  }

  stat(path: string): ReturnType<FileSystem['stat']> {
    return this.#ask('stat', path, () => this.#disk.stat(path));
  }

  lstat(path: string): ReturnType<FileSystem['lstat']> {
    return this.#ask('lstat', path, () => this.#disk.lstat(path));
  }

  mayChange(folder: string): Promise<void> {
    return this.#ask('mayChange', folder, () => this.#disk.mayChange(folder));
  }

  async *entries(path: string): ReturnType<FileSystem['entries']> {
    await this.#ask('entries', path, async () => {});
    yield* this.#disk.entries(path);
  }

  freeSpace(path: string): Promise<FreeSpace> {
    return this.#ask('freeSpace', path, () => this.#disk.freeSpace(path));
  }

  async #ask<Answer>(operation: FileCall['operation'], path: string, act: () => Promise<Answer>): Promise<Answer> {
    const call = { operation, path };
    this.calls.push(call);
    await this.before(call);
    const code = this.failWith(call);
    if (code !== undefined) throw Object.assign(new Error(`${code}: ${operation} '${path}'`), { code });
    return act();
  }

  #watch(path: string, file: OpenFile): OpenFile {
    return {
      read: (into, position) => this.#ask('read', path, () => file.read(into, position)),
      write: (chunks, position) => this.#ask('write', path, () => file.write(this.#firstOf(chunks), position)),
      truncate: (size) => this.#ask('truncate', path, () => file.truncate(size)),
      sync: () => this.#ask('sync', path, () => file.sync()),
      status: () => this.#ask('fstat', path, () => file.status()),
      // A failing close(2) has closed the file all the same.
      close: async () => {
        await file.close();
        await this.#ask('close', path, async () => {});
      },
    };
  }

  #firstOf(chunks: readonly Uint8Array[]): readonly Uint8Array[] {
    let left = this.maxWriteBytes;
    return chunks.flatMap((chunk) => {
      const part = chunk.subarray(0, Math.min(left, chunk.byteLength));
      left -= part.byteLength;
      return part.byteLength > 0 ? [part] : [];
    });
  }
}
