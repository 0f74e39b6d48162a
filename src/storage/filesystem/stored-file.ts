import type { StoredBlob } from '../../mirror/ports/blob-store.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { OpenFile } from './file-system.ts';

export interface StoredFileDeps {
  readonly file: OpenFile;
  readonly size: number;
  readonly onClosed: () => void;
  readonly observer: Pick<Observer, 'trouble'>;
}

/** A stored blob, read by position straight into the caller's buffer. Removing the blob meanwhile takes nothing from its readers. */
export class StoredFile implements StoredBlob {
  readonly size: number;
  readonly #file: OpenFile;
  readonly #onClosed: () => void;
  readonly #observer: StoredFileDeps['observer'];
  #isOpen = true;

  constructor({ file, size, onClosed, observer }: StoredFileDeps) {
    this.size = size;
    this.#file = file;
    this.#onClosed = onClosed;
    this.#observer = observer;
  }

  /** @throws Error when the file ends before its size: then somebody shortened it while it was read. */
  async read(into: Uint8Array, position: number): Promise<number> {
    const bytes = await this.#file.read(into, position);
    if (bytes === 0 && position < this.size && into.byteLength > 0) {
      throw new Error(`a stored file of ${this.size} bytes ends at ${position}`);
    }
    return bytes;
  }

  /** A close(2) that fails takes nothing from what was read. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    try {
      await this.#file.close();
    } catch (cause) {
      this.#observer.trouble({ part: 'store', cause });
    } finally {
      this.#onClosed();
    }
  }
}
