import type { Digest } from '../../oci/digest.ts';
import type { Download } from '../downloads/download.ts';
import type { StoredBlob } from '../ports/blob-store.ts';
import type { BorrowedBuffer, ByteSource } from '../ports/byte-source.ts';
import type { Memory } from '../ports/memory.ts';
import { type ReadWindow, SharedReads, type WindowReader } from '../transfers/shared-reads.ts';

export interface SharedBlobsDeps {
  readonly memory: Memory;
  /** How much is read at a time; for tests. */
  readonly pieceBytes?: number;
}

/** Blobs, stored or being downloaded, whose readers share what is read from the disk. */
export class SharedBlobs {
  readonly #reads: SharedReads;
  /** Of blobs that are being read. */
  readonly #windows = new Map<Digest, ReadWindow>();
  readonly #windowsOfDownloads = new WeakMap<Download, ReadWindow>();

  constructor(deps: SharedBlobsDeps) {
    this.#reads = new SharedReads(deps);
  }

  /** What is allocated. */
  get heldBytes(): number {
    return this.#reads.heldBytes;
  }

  /** The same blob, which shares its reads with others of the digest. It owns `stored`. */
  share(digest: Digest, stored: StoredBlob): StoredBlob {
    return new SharedBlob(stored, {
      join: () => {
        const window = this.#windows.get(digest) ?? this.#reads.window();
        this.#windows.set(digest, window);
        return window.join(stored);
      },
      left: () => {
        if (this.#windows.get(digest)?.isUnused) this.#windows.delete(digest);
      },
    });
  }

  /**
   * Borrowed buffers for a reader of a running download that fell behind the writer: such readers share what they read back.
   * @param source the reader's own.
   */
  behind(download: Download, source: ByteSource): ReaderBehind {
    const window = this.#windowsOfDownloads.get(download) ?? this.#reads.window();
    this.#windowsOfDownloads.set(download, window);
    return new ReaderBehind(window.join(source), download);
  }

  /** To be called when another file has taken the place of the blob: its readers share nothing with those of the old one. */
  forget(digest: Digest): void {
    this.#windows.delete(digest);
  }
}

/** A reader that fell behind the writer of a download. It must be disposed. */
export class ReaderBehind implements Disposable {
  readonly #reader: WindowReader;
  readonly #download: Download;

  constructor(reader: WindowReader, download: Download) {
    this.#reader = reader;
    this.#download = download;
  }

  /** @returns undefined after the download has failed. @param end as {@link WindowReader.borrow}. */
  async borrow(position: number, maxBytes: number, end: number): Promise<BorrowedBuffer | undefined> {
    const hasNotFailed = await this.#download.reached(position, never);
    return hasNotFailed ? this.#reader.borrow(position, maxBytes, end) : undefined;
  }

  [Symbol.dispose](): void {
    this.#reader[Symbol.dispose]();
  }
}

/** For a wait that ends at once. */
const never = { signal: new AbortController().signal };

interface Membership {
  readonly join: () => WindowReader;
  readonly left: () => void;
}

class SharedBlob implements StoredBlob {
  readonly size: number;
  readonly #stored: StoredBlob;
  readonly #membership: Membership;
  #reader: WindowReader | undefined;
  #isDisposed = false;

  constructor(stored: StoredBlob, membership: Membership) {
    this.size = stored.size;
    this.#stored = stored;
    this.#membership = membership;
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return this.#stored.read(into, position);
  }

  async borrow(position: number, maxBytes: number): Promise<BorrowedBuffer | undefined> {
    if (this.#isDisposed) return undefined;
    this.#reader ??= this.#membership.join();
    return this.#reader.borrow(position, maxBytes, this.size);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    this.#reader?.[Symbol.dispose]();
    this.#membership.left();
    await this.#stored[Symbol.asyncDispose]();
  }
}
