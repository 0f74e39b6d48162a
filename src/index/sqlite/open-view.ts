import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { anyGlobMatcher } from '../../oci/reference.ts';
import type { IndexFile } from './buffer-flusher.ts';
import { RowWriter } from './row-writer.ts';
import type { OpenDatabaseOptions, OpenedDatabase } from './open-database.ts';
import { RowRemover } from './row-remover.ts';
import { ViewReader } from './view-reader.ts';
import { numberIn } from './rows.ts';

/** Free pages of 4 KiB that stay in the file for new rows. */
const maxFreePages = 256;
/** Moving this many takes about a millisecond. */
const pagesAtOnce = 64;

/** The free pages of the index's file, left by deleted rows. They count against the bound of the store until the file is truncated. */
export class FreePages {
  readonly #database: DatabaseSync;
  readonly #count: StatementSync;
  #hasMoved = false;

  constructor({ database }: { readonly database: DatabaseSync }) {
    this.#database = database;
    this.#count = database.prepare('PRAGMA freelist_count');
  }

  /** Returns some pages to the disk. @returns whether more should be returned. */
  giveBackSome(): boolean {
    const free = numberIn(this.#count.get() ?? {}, 'freelist_count');
    if (free <= maxFreePages) {
      // The file is truncated only when the write-ahead log is checkpointed.
      if (this.#hasMoved) this.#database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
      this.#hasMoved = false;
      return false;
    }
    this.#database.exec(`PRAGMA incremental_vacuum(${Math.min(pagesAtOnce, free - maxFreePages)})`);
    this.#hasMoved = true;
    return true;
  }
}

/** An open index, with its reader and writers. */
export interface OpenView extends OpenedDatabase {
  readonly reader: ViewReader;
  readonly remover: RowRemover;
  readonly file: IndexFile;
}

export type OpenViewOptions = Omit<OpenDatabaseOptions, 'isKept'>;

/** Opens the index with its reader and writers. @param open opens or creates the database. */
export async function openView(
  options: OpenViewOptions,
  open: (options: OpenDatabaseOptions) => Promise<OpenedDatabase>,
): Promise<OpenView> {
  const isKept = anyGlobMatcher(options.keep);
  const opened = await open({ ...options, isKept });
  const { database } = opened;
  const pages = new FreePages(opened);
  const writer = new RowWriter({ ...opened, isKept });
  const shrink = () => pages.giveBackSome();
  return {
    ...opened,
    reader: new ViewReader(opened),
    remover: new RowRemover(opened),
    file: { database, writer, shrink },
  };
}
