import type { DatabaseSync } from 'node:sqlite';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Observer } from '../mirror/ports.ts';
import type { NoteWriter } from './note-writer.ts';
import { inTransaction } from './open-database.ts';
import type { PendingNotes } from './pending-notes.ts';

/** How long a note may wait for company before it is written. */
const flushDelayMs = 200;
/** While the disk refuses notes. */
const retryDelayMs = 5_000;
/** A transaction of this size keeps the process busy for a few milliseconds. */
const rowsPerFlush = 100;

export interface NoteFlusherDeps {
  readonly pending: PendingNotes;
  readonly observer: Pick<Observer, 'trouble'>;
  /** How many notes memory keeps while the disk refuses them. Beyond it, only a rebuild can tell. */
  readonly maxPending: number;
}

export interface NoteFile {
  readonly database: DatabaseSync;
  readonly writer: NoteWriter;
}

/** Brings pending notes to the file: soon, together, and a few at a time. */
export class NoteFlusher {
  readonly #deps: NoteFlusherDeps;
  #file: NoteFile | undefined;
  #soon: NodeJS.Immediate | undefined;
  #later: NodeJS.Timeout | undefined;
  #isRefused = false;
  #hasLostNotes = false;

  constructor(deps: NoteFlusherDeps) {
    this.#deps = deps;
  }

  start(file: NoteFile): void {
    this.#file = file;
    this.noted();
  }

  /** Writes what is pending. @returns whether every note ever taken is in the file. */
  async stop(): Promise<boolean> {
    await this.settle();
    this.#file = undefined;
    this.#cancel();
    return this.#deps.pending.size === 0 && !this.#hasLostNotes;
  }

  /** To be called after each note. */
  noted(): void {
    const { size } = this.#deps.pending;
    if (!this.#file || size === 0) return;
    if (size >= rowsPerFlush && !this.#isRefused) this.#soon ??= setImmediate(() => this.#flush()).unref();
    else this.#later ??= setTimeout(() => this.#flush(), this.#isRefused ? retryDelayMs : flushDelayMs).unref();
  }

  /** Resolves when what is pending is written, or the disk has refused it. */
  async settle(): Promise<void> {
    while (this.#deps.pending.size > 0 && this.#write()) await nextTurn();
  }

  #flush(): void {
    this.#cancel();
    if (this.#write() && this.#deps.pending.size > 0) this.#soon = setImmediate(() => this.#flush()).unref();
    else this.noted();
  }

  #cancel(): void {
    clearImmediate(this.#soon);
    clearTimeout(this.#later);
    this.#soon = undefined;
    this.#later = undefined;
  }

  /** @returns whether the disk took some of it. */
  #write(): boolean {
    if (!this.#file) return false;
    try {
      this.#writeSome(this.#file);
      this.#isRefused = false;
    } catch (cause) {
      this.#refused(cause);
    }
    return !this.#isRefused;
  }

  #writeSome({ database, writer }: NoteFile): void {
    let commit = (): void => {};
    inTransaction(database, () => {
      commit = this.#deps.pending.writeSome(writer, rowsPerFlush);
    });
    commit();
  }

  /** The notes stay and are tried again, as long as there is room for them. It is told once. */
  #refused(cause: unknown): void {
    const { pending, observer, maxPending } = this.#deps;
    if (!this.#isRefused) observer.trouble({ part: 'index', cause });
    this.#isRefused = true;
    if (pending.size <= maxPending) return;
    pending.clear();
    this.#hasLostNotes = true;
  }
}
