import { randomUUID } from 'node:crypto';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { refusesForNow } from '../mirror/ports/blob-store.ts';
import type { Observer } from '../mirror/ports/observer.ts';
import { type IndexFiles, isInUse, type StoreRuns } from './sqlite/open-database.ts';
import { inTransaction, textIn } from './sqlite/rows.ts';

const verifyEveryMs = 10_000;

export interface StoreLockDeps {
  /** The storage path. */
  readonly folder: string;
  readonly files: IndexFiles;
  readonly observer: Pick<Observer, 'internalError'>;
}

/**
 * Locks the store for this process: a second process would sweep the files that the first is writing.
 * The lock file also names the last run: the index of another run does not know what was stored since.
 */
export class StoreLock implements StoreRuns {
  readonly name = 'store lock';
  readonly run = randomUUID();
  readonly #deps: StoreLockDeps;
  #lastRun: string | undefined;
  readonly #databases: DatabaseSync[] = [];
  /** The identities of the locked files, by path. */
  #locked = new Map<string, string | undefined>();
  #isMoved = false;
  #timer: NodeJS.Timeout | undefined;
  #held: Promise<void> | undefined;
  #verifying: Promise<void> | undefined;

  constructor(deps: StoreLockDeps) {
    this.#deps = deps;
  }

  get lastRun(): string | undefined {
    return this.#lastRun;
  }

  /**
   * A store on a read-only disk is reported, and served without a lock.
   * @throws Error of one line when another process holds the store, or its folder cannot be created or written.
   */
  async start(): Promise<void> {
    const { folder, files, observer } = this.#deps;
    this.#timer = setInterval(() => void this.#verify().catch(() => {}), verifyEveryMs).unref();
    await files.make(folder).catch((cause: unknown) => cannotBeUsed(folder, cause));
    try {
      await this.hold();
    } catch (cause) {
      if (!refusesForNow(cause)) throw cause;
      observer.internalError({ part: 'store lock', cause });
    }
  }

  /**
   * Resolves when this process may write to the store; at once, if it already may. Writing earlier could make the next start
   * take an incomplete index for complete.
   * A disk without locks is reported, and the mirror runs without one: its index is then rebuilt at every start.
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

  /** Whether the storage path no longer leads to the locked files, when last checked. If so, nothing is stored or removed. */
  get isMoved(): boolean {
    return this.#isMoved;
  }

  /** @param options.othersEnded false if something may still write to the store: the lock is then held until the process ends. */
  async stop({ othersEnded }: { readonly othersEnded: boolean } = { othersEnded: true }): Promise<void> {
    if (!othersEnded) return;
    clearInterval(this.#timer);
    for (const database of this.#databases.splice(0)) database.close();
    this.#locked.clear();
  }

  /** Two locks: removing the one that the error names does not let a second process in. */
  get #paths(): readonly string[] {
    return ['lock.sqlite', 'blobs/lock.sqlite'].map((name) => join(this.#deps.folder, name));
  }

  /**
   * If the file of a lock is renamed or removed, the lock is kept, but a second process could lock a new file at the path. Callers at the
   * same time share one look: an eviction removes many files.
   */
  #verify(): Promise<void> {
    this.#verifying ??= this.#verifyNow().finally(() => {
      this.#verifying = undefined;
    });
    return this.#verifying;
  }

  async #verifyNow(): Promise<void> {
    const { files, folder, observer } = this.#deps;
    const found = await Promise.all([...this.#locked.keys()].map((path) => files.identity(path)));
    const wasMoved = this.#isMoved;
    this.#isMoved = [...this.#locked.values()].some((identity, at) => identity !== found[at]);
    if (!this.#isMoved) return;
    const cause = new Error(
      `the storage path ${folder} is not what this process has locked: it was renamed, or its lock removed`,
    );
    if (!wasMoved) observer.internalError({ part: 'store lock', cause });
    throw cause;
  }

  async #hold(): Promise<void> {
    const { folder, files } = this.#deps;
    await files.mayChange(folder).catch((cause: unknown) => {
      if (refusesForNow(cause)) throw cause;
      cannotBeUsed(folder, cause);
    });
    for (const path of this.#paths) {
      await files.make(dirname(path)).catch(() => {}); // Locking reports a missing folder.
      await this.#lockAt(path);
    }
    if (this.#databases.length === 0) return;
    for (const path of [join(folder, '.'), ...this.#paths]) this.#locked.set(path, await files.identity(path));
  }

  async #lockAt(path: string): Promise<void> {
    if (this.#tryToLock(path)) return;
    // A damaged lock file is replaced: it only names the last run, and without the name the index is rebuilt.
    for (const suffix of ['', '-journal']) await this.#deps.files.remove(`${path}${suffix}`).catch(() => {});
    this.#tryToLock(path);
  }

  /** @returns false when the disk supports no locks. */
  #tryToLock(path: string): boolean {
    const { folder, observer } = this.#deps;
    try {
      this.#lock(path);
    } catch (cause) {
      if (isInUse(cause)) throw new Error(`the storage path ${folder} is in use by another process`, { cause });
      observer.internalError({ part: 'store lock', cause });
      return false;
    }
    return true;
  }

  /** SQLITE_BUSY if another process has the lock. In this mode it is kept until the database is closed or the process ends. */
  #lock(path: string): void {
    const database = new DatabaseSync(path, { timeout: 0 });
    try {
      database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL; BEGIN EXCLUSIVE; COMMIT');
    } catch (error) {
      database.close();
      throw error;
    }
    this.#databases.push(database);
    if (path === this.#paths[0]) this.#recordRun(database);
  }

  /** If the disk is full, the run is not recorded, and the next run rebuilds its index. */
  #recordRun(database: DatabaseSync): void {
    try {
      inTransaction(database, () => {
        database.exec('CREATE TABLE IF NOT EXISTS holder (run TEXT NOT NULL) STRICT');
        const last = database.prepare('SELECT run FROM holder').get();
        this.#lastRun = last && textIn(last, 'run');
        database.exec('DELETE FROM holder');
        database.prepare('INSERT INTO holder VALUES (?)').run(this.run);
      });
    } catch (cause) {
      this.#deps.observer.internalError({ part: 'store lock', cause });
    }
  }
}

function cannotBeUsed(folder: string, cause: unknown): never {
  const reason = cause instanceof Error ? cause.message : String(cause);
  throw new Error(`the storage path ${folder} cannot be used: ${reason}`, { cause });
}
