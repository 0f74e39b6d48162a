import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { numberIn } from './rows.ts';

/** So many pages of 4 KiB may lie free in the file for the next rows. */
const maxFreePages = 256;
/** Moving them takes about a millisecond. */
const pagesAtOnce = 64;

/** Pages of the index's file that what is gone has left. They count against the bound of the store until the file is shorter. */
export class FreePages {
  readonly #database: DatabaseSync;
  readonly #count: StatementSync;
  #hasMoved = false;

  constructor({ database }: { readonly database: DatabaseSync }) {
    this.#database = database;
    this.#count = database.prepare('PRAGMA freelist_count');
  }

  /** Gives some back to the disk. @returns whether more should go. */
  giveBackSome(): boolean {
    const free = numberIn(this.#count.get() ?? {}, 'freelist_count');
    if (free <= maxFreePages) {
      // The file itself becomes shorter when the log is moved into it.
      if (this.#hasMoved) this.#database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
      this.#hasMoved = false;
      return false;
    }
    this.#database.exec(`PRAGMA incremental_vacuum(${Math.min(pagesAtOnce, free - maxFreePages)})`);
    this.#hasMoved = true;
    return true;
  }
}
