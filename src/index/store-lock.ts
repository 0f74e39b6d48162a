import { randomUUID } from 'node:crypto';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { refusesForNow } from '../mirror/ports/blob-store.ts';
import type { Observer } from '../mirror/ports/observer.ts';
import { type IndexFiles, inTransaction, isInUse, type StoreRuns } from './sqlite/open-database.ts';
import { textIn } from './sqlite/rows.ts';

const verifyEveryMs = 10_000;

export interface StoreLockDeps {
  /** The storage path. */
  readonly folder: string;
  readonly files: IndexFiles;
  readonly observer: Pick<Observer, 'trouble'>;
}

/**
 * The store, held by this process alone: a second one, whose index may be elsewhere, would sweep away what the first is writing.
 * The file that is locked also tells whose run was the last: an index of another run has not seen what was stored since.
 */
export class StoreLock implements StoreRuns {
  readonly name = 'store lock';
  readonly run = randomUUID();
  readonly #deps: StoreLockDeps;
  #lastRun: string | undefined;
  readonly #databases: DatabaseSync[] = [];
  /** What was locked: identities by path. */
  #locked = new Map<string, string | undefined>();
  #isMoved = false;
  #timer: NodeJS.Timeout | undefined;
  #held: Promise<void> | undefined;

  constructor(deps: StoreLockDeps) {
    this.#deps = deps;
  }

  get lastRun(): string | undefined {
    return this.#lastRun;
  }

  /**
   * A store that is there on a disk that is read-only is told of, and served without being held.
   * @throws Error of one line when another process holds the store, or its folder can't be made or written to.
   */
  async start(): Promise<void> {
    const { folder, files, observer } = this.#deps;
    this.#timer = setInterval(() => void this.#verify().catch(() => {}), verifyEveryMs).unref();
    await files.make(folder).catch((cause: unknown) => cannotBeUsed(folder, cause));
    try {
      await this.hold();
    } catch (cause) {
      if (!refusesForNow(cause)) throw cause;
      observer.trouble({ part: 'store lock', cause });
    }
  }

  /**
   * Resolves when this process may put something into the store: at once, when that was so before. Nobody may before, or an index that
   * has not seen it would be taken for complete at the next start.
   * Where the disk knows no locks it is told, and the mirror runs all the same: its index is then rebuilt at every start.
   * @throws Error as above, or EROFS.
   */
  async hold(): Promise<void> {
    this.#held ??= this.#hold().catch((error: unknown) => {
      this.#held = undefined;
      for (const database of this.#databases.splice(0)) database.close();
      throw error;
    });
    await this.#held;
    await this.#verify();
  }

  /** Whether the storage path named something else than what was locked when it was looked at last: then nothing is stored or removed. */
  get isMoved(): boolean {
    return this.#isMoved;
  }

  /** @param options.othersEnded false where something may still be put into the store: then it stays held until the process ends. */
  async stop({ othersEnded }: { readonly othersEnded: boolean } = { othersEnded: true }): Promise<void> {
    if (!othersEnded) return;
    clearInterval(this.#timer);
    for (const database of this.#databases.splice(0)) database.close();
    this.#locked.clear();
  }

  /** There are two locks: removing the one that the error names does not yet let a second process in. */
  get #paths(): readonly string[] {
    return ['lock.sqlite', 'blobs/lock.sqlite'].map((name) => join(this.#deps.folder, name));
  }

  /** A lock stays held when its file is renamed or removed, but a second process would then lock the new file at the path. */
  async #verify(): Promise<void> {
    const { files, folder, observer } = this.#deps;
    const found = await Promise.all([...this.#locked.keys()].map((path) => files.identity(path)));
    const wasMoved = this.#isMoved;
    this.#isMoved = [...this.#locked.values()].some((identity, at) => identity !== found[at]);
    if (!this.#isMoved) return;
    const cause = new Error(
      `the storage path ${folder} is not what this process has locked: it was renamed, or its lock removed`,
    );
    if (!wasMoved) observer.trouble({ part: 'store lock', cause });
    throw cause;
  }

  async #hold(): Promise<void> {
    const { folder, files } = this.#deps;
    await files.mayChange(folder).catch((cause: unknown) => {
      if (refusesForNow(cause)) throw cause;
      cannotBeUsed(folder, cause);
    });
    for (const path of this.#paths) {
      await files.make(dirname(path)).catch(() => {}); // What is missing shows when it is locked.
      await this.#lockAt(path);
    }
    if (this.#databases.length === 0) return;
    for (const path of [join(folder, '.'), ...this.#paths]) this.#locked.set(path, await files.identity(path));
  }

  async #lockAt(path: string): Promise<void> {
    if (this.#tryToLock(path)) return;
    // It may be broken. What it held is only a name, and without one the index is rebuilt.
    for (const suffix of ['', '-journal']) await this.#deps.files.remove(`${path}${suffix}`).catch(() => {});
    this.#tryToLock(path);
  }

  /** @returns false when there is no lock to be had. */
  #tryToLock(path: string): boolean {
    const { folder, observer } = this.#deps;
    try {
      this.#lock(path);
    } catch (cause) {
      if (isInUse(cause)) throw new Error(`the storage path ${folder} is in use by another process`, { cause });
      observer.trouble({ part: 'store lock', cause });
      return false;
    }
    return true;
  }

  /** SQLITE_BUSY where somebody else has it: in this mode the lock is kept until the database is closed, or its process has ended. */
  #lock(path: string): void {
    const database = new DatabaseSync(path, { timeout: 0 });
    try {
      database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL; BEGIN EXCLUSIVE; COMMIT');
    } catch (error) {
      database.close();
      throw error;
    }
    this.#databases.push(database);
    if (path === this.#paths[0]) this.#noteRun(database);
  }

  /** A full disk cannot take the note. Then the next run finds that it does not know the last one, and rebuilds its index. */
  #noteRun(database: DatabaseSync): void {
    try {
      inTransaction(database, () => {
        database.exec('CREATE TABLE IF NOT EXISTS holder (run TEXT NOT NULL) STRICT');
        const last = database.prepare('SELECT run FROM holder').get();
        this.#lastRun = last && textIn(last, 'run');
        database.exec('DELETE FROM holder');
        database.prepare('INSERT INTO holder VALUES (?)').run(this.run);
      });
    } catch (cause) {
      this.#deps.observer.trouble({ part: 'store lock', cause });
    }
  }
}

function cannotBeUsed(folder: string, cause: unknown): never {
  const reason = cause instanceof Error ? cause.message : String(cause);
  throw new Error(`the storage path ${folder} cannot be used: ${reason}`, { cause });
}
