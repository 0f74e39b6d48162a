import type { StoredBlob } from '../../mirror/ports/blob-store.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { OpenFile } from './file-system.ts';

export interface StoredFileDeps {
  readonly file: OpenFile;
  readonly size: number;
  readonly onClosed: () => void;
  readonly observer: Pick<Observer, 'internalError'>;
}

/** A stored blob, read by position into the caller's buffer. It can be read to its end even if the blob is removed. */
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

  /** @throws Error when the file is shorter than its size: it was truncated while it was read. */
  async read(into: Uint8Array, position: number): Promise<number> {
    const bytes = await this.#file.read(into, position);
    if (bytes === 0 && position < this.size && into.byteLength > 0) {
      throw new Error(`a stored file of ${this.size} bytes ends at ${position}`);
    }
    return bytes;
  }

  /** A failed close(2) is reported; the bytes that were read are good. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    try {
      await this.#file.close();
    } catch (cause) {
      this.#observer.internalError({ part: 'store', cause });
    } finally {
      this.#onClosed();
    }
  }
}
