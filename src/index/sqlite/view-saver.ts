import type { DatabaseSync } from 'node:sqlite';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { StoreChanges } from '../look-again.ts';
import type { WriteBuffer } from '../write-buffer.ts';
import type { BufferFlusher } from './buffer-flusher.ts';
import { type IndexFiles, maxWalBytes, type SyncedFile } from './open-database.ts';

export interface ViewSaverDeps {
  /** Path of the index's file. */
  readonly path: string;
  readonly files: Pick<IndexFiles, 'openForSync' | 'size'>;
  readonly flusher: Pick<BufferFlusher, 'settle' | 'pause' | 'takeWritten'>;
  readonly pending: Pick<WriteBuffer, 'size'>;
  /** Absent: the file is only kept sound. */
  readonly changes: StoreChanges | undefined;
  /** Whether the index has everything, except what the journal has. */
  readonly isComplete: () => boolean;
  readonly observer: Pick<Observer, 'internalError'>;
}

const saveEveryMs = 5_000;

/**
 * Saves the index from now on; until now a rebuild may have written it in place.
 * @returns undefined for an index in memory, and if the disk refuses a write-ahead log: then the next start rebuilds the index.
 */
export function startSaving(database: DatabaseSync, deps: ViewSaverDeps): ViewSaver | undefined {
  if (database.location() === null) return undefined;
  try {
    database.exec('PRAGMA journal_mode = WAL; BEGIN EXCLUSIVE; COMMIT'); // It creates the log.
    return new ViewSaver(database, deps);
  } catch (cause) {
    deps.observer.internalError({ part: 'index', cause });
    database.exec('PRAGMA journal_mode = MEMORY'); // As before.
    return undefined;
  }
}

/**
 * Saves the index, so that power loss leaves it sound, and never older than the journal of changes tells. SQLite would sync on the event
 * loop (`synchronous=NORMAL`), for as long as the disk takes; here the disk syncs beside it:
 *
 *     writes go on     sync of the write-ahead log
 *     writes wait      sync of it ─▶ copied to the file ─▶ sync of the file ─▶ log emptied ─▶ sync of it
 *     then             the journal drops what the index now has
 *
 * Queries are answered meanwhile, unless a write before them waits.
 */
export class ViewSaver {
  readonly #deps: ViewSaverDeps;
  readonly #database: DatabaseSync;
  #file: SyncedFile | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;
  /** Whether the file itself was ever synced. A rebuild writes to it without syncing. */
  #isSound = false;
  #saving: Promise<void> | undefined;

  constructor(database: DatabaseSync, deps: ViewSaverDeps) {
    this.#database = database;
    this.#deps = deps;
    this.#timer = setInterval(() => this.#saveIfDue(), saveEveryMs).unref();
  }

  /** Saves if the write-ahead log has become long. To be called now and then. */
  saveIfLong(): void {
    if (!this.#saving && !this.#isOver) this.#saving = this.#saveIfLong();
  }

  /** Never rejects: a failure is reported, and what could not be saved is looked at again after a crash. */
  async save(): Promise<void> {
    while (this.#saving) await this.#saving;
    this.#saving = this.#saveOnce();
    await this.#saving;
  }

  /** Ends a running save. Nothing is saved afterwards. @returns whether power loss cannot bring back what was removed from the store. */
  async stop(): Promise<boolean> {
    clearInterval(this.#timer);
    await this.#saving;
    this.abandon();
    try {
      await this.#deps.changes?.settle();
      return true;
    } catch (cause) {
      this.#deps.observer.internalError({ part: 'index', cause });
      return false;
    }
  }

  /** The file is damaged: nothing more is done with it. */
  abandon(): void {
    this.#isOver = true;
    clearInterval(this.#timer);
  }

  /** After the database is closed: closing the file earlier would drop the lock on it (sqlite.org/howtocorrupt.html, 2.2). */
  async close(): Promise<void> {
    await this.#file?.close();
  }

  #saveIfDue(): void {
    const hasWritten = this.#deps.flusher.takeWritten();
    if (!this.#saving && (hasWritten || this.#deps.changes?.hasNotes)) this.#saving = this.#saveOnce();
  }

  async #saveIfLong(): Promise<void> {
    const { files, path } = this.#deps;
    const bytes = await files.size(`${path}-wal`).catch(() => 0);
    try {
      if (bytes >= maxWalBytes && !this.#isOver) await this.#sync();
    } catch (cause) {
      if (!this.#isOver) this.#deps.observer.internalError({ part: 'index', cause });
    } finally {
      this.#saving = undefined;
    }
  }

  async #saveOnce(): Promise<void> {
    const { changes, flusher, pending, isComplete, observer } = this.#deps;
    try {
      await changes?.rotate();
      await flusher.settle();
      if (!this.#isSound) await this.#sync(); // Before an epoch says that it is.
      if (this.#isOver) return;
      const epoch = isComplete() && pending.size === 0 ? changes?.oldestNeeded : undefined;
      if (epoch !== undefined)
        this.#database.exec(`UPDATE state SET epoch = ${epoch}; DELETE FROM recent WHERE epoch < ${epoch}`);
      await this.#sync();
      if (epoch !== undefined && !this.#isOver) await changes?.dropBefore(epoch);
    } catch (cause) {
      if (!this.#isOver) observer.internalError({ part: 'index', cause });
    } finally {
      this.#saving = undefined;
    }
  }

  async #sync(): Promise<void> {
    const { files, path, flusher } = this.#deps;
    this.#file ??= await files.openForSync(path);
    const log = await files.openForSync(`${path}-wal`);
    try {
      await log.sync();
      const resume = flusher.pause();
      try {
        await log.sync();
        this.#checkpoint('PASSIVE');
        await this.#file.sync();
        this.#checkpoint('TRUNCATE');
        await log.sync();
        this.#isSound = true;
      } finally {
        resume();
      }
    } finally {
      await log.close();
    }
  }

  #checkpoint(mode: 'PASSIVE' | 'TRUNCATE'): void {
    if (this.#isOver) throw new Error('the index was closed while it was saved');
    this.#database.exec(`PRAGMA wal_checkpoint(${mode})`);
  }
}
