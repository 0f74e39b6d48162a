import type { DatabaseSync } from 'node:sqlite';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Observer } from '../../mirror/ports/observer.ts';
import { isDamage } from './rows.ts';
import type { RowWriter } from './row-writer.ts';
import { inTransaction } from './open-database.ts';
import type { Depth, WriteBuffer } from './write-buffer.ts';
import { Slice, type SliceLimits } from '../slice.ts';

/** How long a note may wait for company before it is written. */
const flushDelayMs = 200;
/** While the disk refuses notes. */
const retryDelayMs = 5_000;
/** A transaction of so many rows takes a few milliseconds, where the pages are in memory. Where they are not, the time ends it. */
const rowsPerFlush = 100;
const msPerFlush = 5;

export interface BufferFlusherDeps {
  readonly pending: WriteBuffer;
  readonly observer: Pick<Observer, 'trouble'>;
  /** How many notes memory keeps while the disk refuses them. Beyond it, only a rebuild can tell. */
  readonly maxPending: number;
  /** Told when the file turns out to be damaged: it is not written to any more. */
  readonly onDamaged: (cause: unknown) => void;
  /** Milliseconds of a monotonic clock; the machine's, where absent. */
  readonly now?: () => number;
}

export interface IndexFile {
  readonly database: DatabaseSync;
  readonly writer: RowWriter;
  /** Gives some of what is free in the file back to the disk. @returns whether there may be more. */
  readonly shrink: () => boolean;
}

/** Brings pending notes to the file: soon, together, and a few at a time. */
export class BufferFlusher {
  readonly #deps: BufferFlusherDeps;
  readonly #limits: SliceLimits;
  #file: IndexFile | undefined;
  #soon: NodeJS.Immediate | undefined;
  #later: NodeJS.Timeout | undefined;
  #isRefused = false;
  #hasLostNotes = false;

  constructor(deps: BufferFlusherDeps) {
    this.#deps = deps;
    this.#limits = { maxRows: rowsPerFlush, maxMs: msPerFlush, now: deps.now ?? (() => performance.now()) };
  }

  start(file: IndexFile): void {
    this.#file = file;
    this.noted();
  }

  /** Writes what is pending. @returns whether every note ever taken is in the file. */
  async stop(): Promise<boolean> {
    while (this.#deps.pending.size > 0 && this.#write('all') !== undefined) await nextTurn();
    this.#file = undefined;
    this.#cancel();
    return this.#deps.pending.size === 0 && !this.#hasLostNotes;
  }

  /** The file is gone; notes wait until there is another. */
  detach(): void {
    this.#file = undefined;
    this.#cancel();
  }

  /** To be called after each note. */
  noted(): void {
    const { size } = this.#deps.pending;
    if (!this.#file || size === 0) return;
    if (size >= rowsPerFlush && !this.#isRefused) this.#soon ??= setImmediate(() => this.#flush()).unref();
    else this.#later ??= setTimeout(() => this.#flush(), this.#isRefused ? retryDelayMs : flushDelayMs).unref();
  }

  /** Resolves when what is pending now is written, or the disk has refused it. What comes meanwhile is not waited for. */
  async settle(depth: Depth = 'all'): Promise<void> {
    const { pending } = this.#deps;
    for (let left = pending.sizeOf(depth); pending.sizeOf(depth) > 0; ) {
      const rows = this.#write(depth);
      if (rows === undefined) return;
      left -= rows;
      if (left <= 0 && (depth === 'things' || !pending.hasUnnamed)) return;
      await nextTurn();
    }
  }

  #flush(): void {
    this.#cancel();
    const rows = this.#write('all');
    if (rows === undefined) return this.noted();
    if (this.#deps.pending.size > 0 || this.#shrink()) this.#soon = setImmediate(() => this.#flush()).unref();
  }

  #cancel(): void {
    clearImmediate(this.#soon);
    clearTimeout(this.#later);
    this.#soon = undefined;
    this.#later = undefined;
  }

  /** @returns how many rows the disk took; undefined when it refused them. */
  #write(depth: Depth): number | undefined {
    if (!this.#file) return undefined;
    try {
      const rows = this.#writeSome(this.#file, depth);
      this.#isRefused = false;
      return rows;
    } catch (cause) {
      this.#refused(cause);
      return undefined;
    }
  }

  #shrink(): boolean {
    try {
      return this.#file?.shrink() ?? false;
    } catch (cause) {
      this.#refused(cause);
      return false;
    }
  }

  #writeSome({ database, writer }: IndexFile, depth: Depth): number {
    const slice = new Slice(this.#limits);
    inTransaction(database, () => this.#deps.pending.writeSome(writer, slice, depth));
    slice.commit();
    return slice.rows;
  }

  /** The notes stay and are tried again, as long as there is room for them. It is told once. */
  #refused(cause: unknown): void {
    const { pending, observer, maxPending, onDamaged } = this.#deps;
    if (isDamage(cause)) return onDamaged(cause);
    if (!this.#isRefused) observer.trouble({ part: 'index', cause });
    this.#isRefused = true;
    if (pending.sizeOf('evictions') <= maxPending) return;
    pending.clear();
    this.#hasLostNotes = true;
  }
}
