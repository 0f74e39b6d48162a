import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { distinctRecords } from '../../mirror/ports/record-store.ts';
import { refusesForNow } from '../../mirror/ports/blob-store.ts';
import { catalogueSchema } from './catalogue/images-schema.ts';
import { inTransaction, numberIn, recentIn, textIn } from './rows.ts';
import type { ChangedThings, StoreChanges } from '../look-again.ts';
import {
  databaseSuffixes,
  manifestTotalsSchema,
  maxClockErrorMs,
  schema,
  schemaVersion,
  totalsSchema,
} from './schema.ts';

/** What an index needs from the file system, to create its file and to remove a broken one. */
export interface IndexFiles {
  /** Creates a folder and its missing parents. */
  make(folder: string): Promise<void>;
  /** @throws Error when this process has no permission to create files in a folder. A full disk is no error. */
  mayChange(folder: string): Promise<void>;
  /** Creates a file in a folder and removes it. @throws the disk's error. */
  tryOut(folder: string): Promise<void>;
  /** Removes a file if it exists. */
  remove(path: string): Promise<void>;
  /** Device and inode at `path`; links are not followed. Undefined if there is nothing. */
  identity(path: string): Promise<string | undefined>;
  /** Bytes of a file; 0 if it does not exist. */
  size(path: string): Promise<number>;
  /** Opens a file, to sync it. */
  openForSync(path: string): Promise<SyncedFile>;
}

export interface SyncedFile {
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** The runs that used a store: they tell an index whether it has seen everything. */
export interface StoreRuns {
  /** The run before this one, if known. */
  readonly lastRun: string | undefined;
  readonly run: string;
}

export interface OpenDatabaseOptions extends KeepRules {
  readonly path: string;
  readonly files: IndexFiles;
  /** Called with the reason why an index is discarded. */
  readonly onBroken: (cause: unknown) => void;
  readonly runs: StoreRuns;
  /** Absent: an index that was not closed is discarded. */
  readonly changes?: StoreChanges | undefined;
  readonly nowMs: number;
}

export interface OpenedDatabase {
  readonly database: DatabaseSync;
  /** Whether it was closed complete, and the store was not used since. Otherwise it must be rebuilt. */
  readonly isComplete: boolean;
  /** It was not closed, and only this may have changed in the store since its last write; undefined if it was closed, or anything may have. */
  readonly changed: ChangedThings | undefined;
  /** Since when every use is recorded. */
  readonly watchingSinceMs: number;
  /** The number of the rebuild that its rows belong to. */
  readonly rebuild: number;
}

const cacheKiB = 16 * 1024;
/** A longer write-ahead log is emptied after the burst of writes that made it. Copying this much to the file takes about 5 ms. */
export const maxWalBytes = 4 * 1024 * 1024;

/**
 * Opens the index for this process alone. An index is discarded if it is of another version, or if its process ended while it was rebuilt:
 * power loss may have damaged it. If the disk accepts no writes now, the index is kept in memory, and rebuilt at the next start.
 * @throws Error when another process has it open, or when no index can be created at `path`.
 */
export async function openDatabase(options: OpenDatabaseOptions): Promise<OpenedDatabase> {
  const { path, onBroken } = options;
  try {
    return await openFile(options);
  } catch (cause) {
    if (isInUse(cause)) throw new Error(`the index ${path} is in use by another process`, { cause });
    if (!refusesForNow(cause) && !isFull(cause)) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new Error(`the index ${path} cannot be created: ${reason}`, { cause });
    }
    onBroken(cause);
    return await openSound({ ...options, path: ':memory:' });
  }
}

async function openFile(options: OpenDatabaseOptions): Promise<OpenedDatabase> {
  const { path, files, onBroken } = options;
  await files.make(dirname(path));
  try {
    return await openSound(options);
  } catch (cause) {
    if (isInUse(cause)) throw cause;
    if (!(cause instanceof NotClosed)) onBroken(cause);
  }
  await removeDatabase(options);
  try {
    return await openSound(options);
  } catch (cause) {
    // SQLite does not say why it cannot create a file. The disk does.
    if (!isInUse(cause)) await files.tryOut(dirname(path));
    throw cause;
  }
}

async function removeDatabase({ path, files }: Pick<OpenDatabaseOptions, 'path' | 'files'>): Promise<void> {
  for (const suffix of databaseSuffixes) await files.remove(`${path}${suffix}`);
}

/** Replaces a damaged database; in memory, if the disk refuses another. */
export async function replaceDatabase(options: OpenDatabaseOptions): Promise<OpenedDatabase> {
  try {
    await removeDatabase(options);
    return await openDatabase(options);
  } catch (cause) {
    options.onBroken(cause);
    return await openSound({ ...options, path: ':memory:' });
  }
}

/** Marks the index as closed with all writes, and closes it. */
export function closeForGood(database: DatabaseSync, { isComplete }: Pick<OpenedDatabase, 'isComplete'>): void {
  try {
    saveForGood(database, `UPDATE state SET is_closed = 1, is_complete = ${isComplete ? 1 : 0}; DELETE FROM recent`);
  } finally {
    database.close();
  }
}

/** Its process ended while it was rebuilt, or it is not known what changed since. */
class NotClosed extends Error {
  override readonly name = 'NotClosed';
}

async function openSound(options: OpenDatabaseOptions): Promise<OpenedDatabase> {
  const database = new DatabaseSync(options.path, { timeout: 0 });
  try {
    lock(database);
    return await take(database, options);
  } catch (error) {
    database.close();
    throw error;
  }
}

/**
 * In this mode SQLite keeps its lock until the database is closed: a second process gets SQLITE_BUSY. Nothing else in this process may
 * open the file, because closing it would drop the lock (sqlite.org/howtocorrupt.html, 2.2).
 */
function lock(database: DatabaseSync): void {
  database.exec('PRAGMA auto_vacuum = INCREMENTAL'); // Only a new file takes this.
  database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; BEGIN EXCLUSIVE; COMMIT');
  database.exec(`PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -${cacheKiB}`);
  database.exec(`PRAGMA journal_size_limit = ${maxWalBytes}`);
  database.exec('PRAGMA temp_store = MEMORY');
}

/** From here on the index is marked as not closed, until {@link closeForGood}. */
async function take(
  database: DatabaseSync,
  { runs, changes, nowMs, ...rules }: OpenDatabaseOptions,
): Promise<OpenedDatabase> {
  if (isEmpty(database)) inTransaction(database, () => database.exec(`${schema}${totalsSchema}${catalogueSchema}`));
  const version = numberIn(rowOf(database, 'PRAGMA user_version'), 'user_version');
  if (version !== schemaVersion) throw new Error(`schema version ${version}, expected ${schemaVersion}`);
  const state = rowOf(database, 'SELECT is_closed, is_complete, rebuild, run, watching_since, epoch FROM state');
  const hasSeenLastRun = state['run'] === runs.lastRun;
  const isClosed = numberIn(state, 'is_closed') === 1;
  const isComplete = hasSeenLastRun && isClosed && numberIn(state, 'is_complete') === 1;
  const since = hasSeenLastRun && !isClosed && state['epoch'] !== null ? numberIn(state, 'epoch') : undefined;
  const noted = since === undefined ? undefined : await changes?.changedSince(since);
  const changed = noted && bothOf(noted, recentIn(database));
  if (!isClosed && !changed) throw new NotClosed('its process ended before it was closed');
  const watchingSinceMs = hasSeenLastRun ? numberIn(state, 'watching_since') : nowMs;
  inTransaction(database, () => {
    if (!hasManifestTotals(database)) database.exec(manifestTotalsSchema);
    applyKeep(database, rules);
    endFutureUses(database, nowMs);
  });
  const rebuild = numberIn(state, 'rebuild') + (isComplete ? 0 : 1);
  const epoch = (isComplete ? changes?.current : since) ?? 'NULL';
  saveForGood(
    database,
    `UPDATE state SET is_closed = 0, is_complete = 0, rebuild = ${rebuild}, run = '${runs.run}',
      watching_since = ${watchingSinceMs}, epoch = ${epoch}`,
  );
  if (!isComplete && !changed) writeInPlace(database);
  return { database, isComplete, changed, rebuild, watchingSinceMs };
}

function bothOf(one: ChangedThings, other: ChangedThings): ChangedThings {
  const contents = [...new Set([...one.contents, ...other.contents])];
  return { contents, records: distinctRecords([...one.records, ...other.records]) };
}

/**
 * Resets last uses in the future, recorded while the wall clock was ahead: they would be evicted last until then. Of content, what may be
 * evicted now: the rest, once it may be.
 */
function endFutureUses(database: DatabaseSync, nowMs: number): void {
  const inFuture = `used_at > ?1 + ${maxClockErrorMs}`;
  database
    .prepare(`UPDATE content INDEXED BY evictable SET used_at = ?1 WHERE named_by = 0 AND kept_by = 0 AND ${inFuture}`)
    .run(nowMs);
  database.prepare(`UPDATE repositories INDEXED BY repositories_by_use SET used_at = ?1 WHERE ${inFuture}`).run(nowMs);
}

/** Not in an index that an earlier release made. */
function hasManifestTotals(database: DatabaseSync): boolean {
  return database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'manifest_totals'").get() !== undefined;
}

function isEmpty(database: DatabaseSync): boolean {
  return numberIn(rowOf(database, 'SELECT count(*) AS tables FROM sqlite_schema'), 'tables') === 0;
}

/**
 * A rebuild writes each page once, to the file itself: a write-ahead log would double that. The end of the process may damage the file, which
 * is discarded then.
 */
function writeInPlace(database: DatabaseSync): void {
  database.exec('PRAGMA journal_mode = MEMORY');
}

/** Syncs one statement: power loss must not reorder it. All other writes use synchronous=OFF: see ViewSaver. */
function saveForGood(database: DatabaseSync, statement: string): void {
  database.exec('PRAGMA synchronous = FULL; PRAGMA journal_mode = WAL; PRAGMA wal_checkpoint(TRUNCATE)');
  database.exec(`${statement}; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA synchronous = OFF`);
}

function rowOf(database: DatabaseSync, query: string): Record<string, unknown> {
  const row = database.prepare(query).get();
  if (!row) throw new Error(`no answer to ${query}`);
  return row;
}

/** SQLITE_BUSY, or SQLITE_LOCKED. */
export function isInUse(error: unknown): boolean {
  return [5, 6].includes(resultCode(error));
}

/** SQLITE_FULL. */
function isFull(error: unknown): boolean {
  return resultCode(error) === 13;
}

/** The lower byte of the extended codes (sqlite.org/rescode.html). */
function resultCode(error: unknown): number {
  if (!(error instanceof Error && 'errcode' in error && typeof error.errcode === 'number')) return 0;
  return error.errcode & 0xff;
}

export interface KeepRules {
  /** The globs of `storage.keep`, as written. */
  readonly keep: readonly string[];
  readonly isKept: (repository: string) => boolean;
}

/** Updates which links are kept, if `storage.keep` changed since the index was written. To be called in a transaction. */
function applyKeep(database: DatabaseSync, { keep, isKept }: KeepRules): void {
  const text = JSON.stringify(keep);
  if (textIn(database.prepare('SELECT keep FROM state').get() ?? {}, 'keep') === text) return;
  const repositories = database.prepare('SELECT name, kept FROM repositories').all();
  const update = database.prepare('UPDATE links INDEXED BY held SET kept = ?1 WHERE repository = ?2 AND kept <> ?1');
  for (const row of repositories) {
    const name = textIn(row, 'name');
    if (isKept(name) !== (numberIn(row, 'kept') === 1)) update.run(isKept(name) ? 1 : 0, name);
  }
  database.prepare('UPDATE state SET keep = ?').run(text);
}
