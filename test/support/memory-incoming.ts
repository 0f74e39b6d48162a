import type { IncomingBlob, Checkpoint } from '../../src/mirror/ports/blob-store.ts';

export interface MemoryIncomingOptions {
  readonly maxBytes?: number;
  /** What it holds from the start. */
  readonly held?: Buffer;
  /** Awaited by every write. */
  readonly beforeAppend?: () => Promise<void>;
  /** Awaited by every read. */
  readonly beforeRead?: () => Promise<void>;
  /** Awaited by every checkpoint. */
  readonly beforeCheckpoint?: () => Promise<void>;
  /** Awaited when it is left. */
  readonly beforeLeave?: () => Promise<void>;
}

/** A file in memory that can refuse to grow. */
export class MemoryIncoming implements IncomingBlob {
  isDisposed = false;
  isCommitted = false;
  isLeft = false;
  isCleared = false;
  readonly checkpoints: Checkpoint[] = [];
  readonly #options: MemoryIncomingOptions;
  #buffer: Buffer;
  #size: number;

  constructor(options: MemoryIncomingOptions = {}) {
    this.#options = options;
    this.#buffer = options.held ?? Buffer.alloc(0);
    this.#size = this.#buffer.byteLength;
  }

  async append(chunks: readonly Uint8Array[]): Promise<void> {
    await this.#options.beforeAppend?.();
    const added = Buffer.concat(chunks);
    const size = this.#size + added.byteLength;
    if (size > (this.#options.maxBytes ?? Infinity)) throw new Error('ENOSPC');
    if (size > this.#buffer.byteLength) this.#buffer = Buffer.concat([this.#buffer.subarray(0, this.#size)], 2 * size);
    added.copy(this.#buffer, this.#size);
    this.#size = size;
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    await this.#options.beforeRead?.();
    return this.#buffer.subarray(0, this.#size).copy(into, 0, position);
  }

  async checkpoint(checkpoint: Checkpoint): Promise<void> {
    this.checkpoints.push(checkpoint);
    await this.#options.beforeCheckpoint?.();
  }

  async leave(checkpoint?: Checkpoint): Promise<void> {
    await this.#options.beforeLeave?.();
    if (checkpoint) this.checkpoints.push(checkpoint);
    this.isLeft = true;
  }

  async clear(): Promise<void> {
    this.#buffer = Buffer.alloc(0);
    this.#size = 0;
    this.isCleared = true;
  }

  /** Everything that is written. */
  async all(): Promise<Buffer> {
    return Buffer.from(this.#buffer.subarray(0, this.#size));
  }

  async commit(): Promise<void> {
    this.isCommitted = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.isDisposed = true;
  }
}
