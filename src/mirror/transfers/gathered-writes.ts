import type { Memory, MemoryReservation } from '../ports/memory.ts';
import { DiskFailure } from './transfer-errors.ts';

/**
 * How many bytes are gathered for one write. Waking one of Node's threads costs as much as writing 128 KiB, and 1 MiB does not fit into the
 * processor's caches (measured over a cold pull of 256 MiB by one client: 0.65 s of CPU with 128 KiB, 0.45 s with this, 0.50 s with 1 MiB).
 */
const writeBytes = 512 * 1024;
/** Fewer bytes are written after this time, so that readers of a slow upstream see them. */
const maxWriteDelayMs = 5;

export interface GatheredWritesDeps {
  /** Bytes that wait to be written count against it. */
  readonly memory: Memory;
  /** Writes, one call at a time. */
  readonly append: (chunks: readonly Uint8Array[], bytes: number) => Promise<void>;
  /** Called with the chunks of each write, before the next write begins. */
  readonly onWritten: (chunks: readonly Uint8Array[], bytes: number) => void;
}

/** Gathers pieces and writes them together. At most one write runs while the next is gathered. After a failed write nothing more is written. */
export class GatheredWrites {
  readonly #deps: GatheredWritesDeps;
  readonly #unwritten: MemoryReservation | undefined;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #writingBytes = 0;
  #writing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failure: { readonly cause: unknown } | undefined;
  #isAtDisk = false;

  constructor(deps: GatheredWritesDeps) {
    this.#deps = deps;
    this.#unwritten = deps.memory.tryReserve(0, { isOptional: true });
  }

  /** Whether a write is running. */
  get isAtDisk(): boolean {
    return this.#isAtDisk;
  }

  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  /** Resolves when the next piece may be added: when memory is short, only after all is written. @throws DiskFailure once a write has failed. */
  async add(piece: Uint8Array): Promise<void> {
    this.#queue.push(piece);
    this.#queuedBytes += piece.byteLength;
    const mayGather = this.#unwritten?.tryResize(this.#queuedBytes + this.#writingBytes) ?? false;
    if (!mayGather) {
      await this.#write();
      await this.#writing;
    } else if (this.#queuedBytes >= writeBytes) await this.#write();
    else this.#writeSoon();
    this.#throwIfFailed();
  }

  /** Writes everything that was gathered. @throws DiskFailure */
  async finish(): Promise<void> {
    await this.#write();
    await this.#writing;
    this.#throwIfFailed();
  }

  /** Drops what was gathered, and waits for the running write. */
  async drop(): Promise<void> {
    this.#queue = [];
    this.#queuedBytes = 0;
    await this.#writing;
  }

  /** Cancels the delayed write: nothing more will be gathered. */
  stopWaiting(): void {
    clearTimeout(this.#timer);
  }

  /** Waits for the running write, and returns the memory. */
  async end(): Promise<void> {
    await this.#writing;
    this.#unwritten?.release();
  }

  /** Begins to write what was gathered, once the running write has ended. */
  async #write(): Promise<void> {
    await this.#writing;
    if (this.#queuedBytes === 0 || this.#failure) return;
    const chunks = this.#queue;
    const bytes = this.#queuedBytes;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#writingBytes = bytes;
    this.#writing = this.#append(chunks, bytes);
  }

  async #append(chunks: readonly Uint8Array[], bytes: number): Promise<void> {
    this.#isAtDisk = true;
    try {
      await this.#deps.append(chunks, bytes);
    } catch (cause) {
      this.#failure = { cause };
      return;
    } finally {
      this.#isAtDisk = false;
    }
    this.#writingBytes = 0;
    this.#unwritten?.tryResize(this.#queuedBytes);
    this.#deps.onWritten(chunks, bytes);
    if (this.#queuedBytes > 0) this.#writeSoon();
  }

  #writeSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#write();
    }, maxWriteDelayMs);
  }

  #throwIfFailed(): void {
    if (this.#failure) throw new DiskFailure(this.#failure.cause);
  }
}
