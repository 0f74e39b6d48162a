import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { type Digest, hexOf, parseDigest } from '../../oci/digest.ts';
import type { ImageFacts } from '../../oci/manifest.ts';
import { parseTag } from '../../oci/reference.ts';
import type { RecordKey } from '../../mirror/ports/record-store.ts';
import { type RepositoryId, repositoryKey, repositoryNamed } from '../../mirror/ports/repository-id.ts';
import type { IndexedContent, Link } from '../../mirror/ports/store-index.ts';
import type { BufferedTag, BufferWriter, Slice } from '../buffer-writer.ts';
import type { ChangedThings } from '../look-again.ts';
import { bytesOf, maxClockErrorMs } from './schema.ts';

/** One row of a query's result. */
export type Row = Readonly<Record<string, unknown>>;

/** A row that does not match the schema. */
export class DamagedRowError extends Error {
  override readonly name = 'DamagedRowError';
}

/** @throws DamagedRowError when the column is no text. */
export function textIn(row: Row, column: string): string {
  const value = row[column];
  if (typeof value === 'string') return value;
  throw new DamagedRowError(`the index holds no text in ${column}`);
}

/** @throws DamagedRowError when the column is no whole number. */
export function numberIn(row: Row, column: string): number {
  const value = row[column];
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  throw new DamagedRowError(`the index holds no whole number in ${column}`);
}

/** A digest as the table `names` stores it. */
export function digestBytes(digest: Digest): Uint8Array {
  return Buffer.from(hexOf(digest), 'hex');
}

/** SQLITE_CORRUPT and SQLITE_NOTADB (sqlite.org/rescode.html). */
const damaged: ReadonlySet<number> = new Set([11, 26]);
/** SQLITE_IOERR_READ, _SHORT_READ, _CORRUPTFS and _DATA. Other I/O errors usually mean that the disk refuses writes. */
const unreadable: ReadonlySet<number> = new Set([266, 522, 8458, 8202]);

/** Whether an error means that the index's file is damaged, so that no result can be trusted. */
export function isDamage(error: unknown): boolean {
  if (error instanceof DamagedRowError) return true;
  if (!(error instanceof Error && 'errcode' in error && typeof error.errcode === 'number')) return false;
  return damaged.has(error.errcode & 0xff) || unreadable.has(error.errcode);
}

export interface RowWriterDeps {
  readonly database: DatabaseSync;
  /** Every row written is marked as seen by this rebuild. */
  readonly rebuild: number;
  /** Whether `storage.keep` names a repository, given as `<upstream>/<repository>`. */
  readonly isKept: (repository: string) => boolean;
  /** The epoch of the journal of changes; undefined while the store is not looked at again after a crash: then it is looked at as a whole. */
  readonly epoch?: () => number | undefined;
}

/** Uses may be written out of order by seconds. A use that is a day ahead came from a wrong wall clock. */
const lastUse = `CASE WHEN used_at > ?2 + ${maxClockErrorMs} THEN ?2 ELSE max(used_at, ?2) END`;

/** So many names are written by one statement: one statement for each name costs a sixth more. */
const namesTogether = 16;

/** Applies single writes to the index, by prepared statements. Writing the same twice changes nothing. */
export class RowWriter implements BufferWriter {
  readonly #rebuild: number;
  readonly #isKept: (repository: string) => boolean;
  readonly #epoch: () => number | undefined;
  readonly #recent: StatementSync;
  readonly #content: StatementSync;
  readonly #image: StatementSync;
  readonly #names: StatementSync;
  readonly #unname: StatementSync;
  readonly #use: StatementSync;
  readonly #repositoryUse: StatementSync;
  readonly #repositoryUsedAt: StatementSync;
  readonly #setRepositoryUse: StatementSync;
  readonly #link: StatementSync;
  readonly #tag: StatementSync;
  readonly #untag: StatementSync;

  constructor({ database, rebuild, isKept, epoch = () => undefined }: RowWriterDeps) {
    this.#epoch = epoch;
    this.#recent = database.prepare('INSERT INTO recent (epoch, kind, repository, name) VALUES (?, ?, ?, ?)');
    this.#rebuild = rebuild;
    this.#isKept = isKept;
    this.#content = database.prepare(`
      INSERT INTO content (digest, size, used_at, is_manifest, named_by, kept_by, seen)
      VALUES (?1, ?2, ?3, ?4, (SELECT count(*) FROM names WHERE child = ${bytesOf('?1')}),
        (SELECT count(*) FROM links WHERE digest = ?1 AND kept = 1), ?5)
      ON CONFLICT (digest) DO UPDATE SET size = excluded.size, used_at = max(used_at, excluded.used_at),
        is_manifest = max(is_manifest, excluded.is_manifest), seen = excluded.seen`);
    this.#image = database.prepare(`
      UPDATE images SET media_type = coalesce(?2, media_type), offers = ?3, first_at = min(first_at, ?4), own = ?5, bytes = ?5
      WHERE digest = ?1`);
    this.#names = database.prepare(
      `INSERT OR IGNORE INTO names (parent, child) SELECT ?1, ${bytesOf('value')} FROM json_each(?2)`,
    );
    this.#unname = database.prepare(
      'DELETE FROM names WHERE parent = ?1 AND child IN (SELECT child FROM names WHERE parent = ?1 LIMIT ?2)',
    );
    this.#use = database.prepare(`UPDATE content SET used_at = ${lastUse} WHERE digest = ?1`);
    this.#repositoryUse = database.prepare(`UPDATE repositories SET used_at = ${lastUse} WHERE name = ?1`);
    this.#repositoryUsedAt = database.prepare('SELECT used_at FROM repositories WHERE name = ?');
    this.#setRepositoryUse = database.prepare('UPDATE repositories SET used_at = ?2 WHERE name = ?1');
    this.#link = database.prepare(`
      INSERT INTO links (digest, repository, kind, media_type, size, kept, seen)
      VALUES (?1, ?2, ?3, ?4, coalesce(?5, (SELECT size FROM content WHERE digest = ?1)), ?6, ?7)
      ON CONFLICT (digest, kind, repository) DO UPDATE SET media_type = coalesce(excluded.media_type, media_type),
        size = coalesce(?5, size, excluded.size), seen = excluded.seen`);
    this.#tag = database.prepare(`
      INSERT INTO tags (repository, tag, digest, seen) VALUES (?1, ?2, ?3, ?4)
      ON CONFLICT (repository, tag) DO UPDATE SET digest = excluded.digest, seen = excluded.seen WHERE seen < ?5`);
    this.#untag = database.prepare('DELETE FROM tags WHERE repository = ? AND tag = ?');
  }

  /** Writes the content without the digests it names. */
  content({ digest, size, usedAtMs, isManifest, image }: IndexedContent): void {
    this.#remember('content', '', digest);
    this.#content.run(digest, whole(size), whole(usedAtMs), isManifest ? 1 : 0, this.#rebuild);
    if (image) this.#image.run(digest, image.mediaType ?? null, offersOf(image), whole(usedAtMs), whole(image.bytes));
  }

  names(parent: Digest, children: readonly Digest[], { from, slice }: { from: number; slice: Slice }): number {
    let written = 0;
    for (const end = Math.min(children.length, from + slice.rowsLeft); from + written < end && !slice.isOver; ) {
      const some = children.slice(from + written, Math.min(end, from + written + namesTogether));
      this.#names.run(digestBytes(parent), JSON.stringify(some));
      written += some.length;
    }
    return written;
  }

  /** Removes up to `limit` names of a manifest that is no longer stored. @returns how many. */
  unname(parent: Digest, limit: number): number {
    return Number(this.#unname.run(digestBytes(parent), limit).changes);
  }

  /** @returns whether the content is known. */
  use(digest: Digest, atMs: number): boolean {
    return this.#use.run(digest, whole(atMs)).changes !== 0;
  }

  /** @param repository as `<upstream>/<repository>`. The use of a repository without links is not recorded. */
  repositoryUse(repository: string, atMs: number): void {
    this.#repositoryUse.run(repository, whole(atMs));
  }

  /** A trigger has a new link count as used when its content was; if its own use is known, that counts instead. */
  link(link: Link): void {
    const repository = repositoryKey(link.repositoryId);
    const { usedAtMs } = link;
    const before = usedAtMs === undefined ? undefined : this.#repositoryUsedAt.get(repository);
    this.#writeLink(repository, link);
    if (usedAtMs === undefined) return;
    this.#setRepositoryUse.run(repository, before ? numberIn(before, 'used_at') : 0);
    this.repositoryUse(repository, usedAtMs);
  }

  #writeLink(repository: string, { kind, digest, mediaType, size }: Link): void {
    this.#remember(kind, repository, digest);
    this.#link.run(
      digest,
      repository,
      kind,
      mediaType ?? null,
      size === undefined ? null : whole(size),
      this.#isKept(repository) ? 1 : 0,
      this.#rebuild,
    );
  }

  #remember(kind: string, repository: string, name: string): void {
    const epoch = this.#epoch();
    if (epoch !== undefined) this.#recent.run(epoch, kind, repository, name);
  }

  tag({ repositoryId, tag, digest, source }: BufferedTag): void {
    this.#remember('tag', repositoryKey(repositoryId), tag);
    const seenBefore = source === 'mirror' ? this.#rebuild + 1 : this.#rebuild;
    if (digest === undefined) this.#untag.run(repositoryKey(repositoryId), tag);
    else this.#tag.run(repositoryKey(repositoryId), tag, digest, this.#rebuild, seenBefore);
  }
}

/** What {@link RowWriter} has written last. */
export function recentIn(database: DatabaseSync): ChangedThings {
  const [contents, records]: [Digest[], RecordKey[]] = [[], []];
  for (const row of database.prepare('SELECT DISTINCT kind, repository, name FROM recent').iterate()) {
    const [kind, name] = [textIn(row, 'kind'), textIn(row, 'name')];
    if (kind === 'content') contents.push(parseDigest(name));
    else records.push(recordKeyOf(kind, repositoryNamed(textIn(row, 'repository')), name));
  }
  return { contents, records };
}

function recordKeyOf(kind: string, repositoryId: RepositoryId, name: string): RecordKey {
  if (kind === 'tag') return { kind, repositoryId, tag: parseTag(name) };
  return { kind: kind === 'manifest' ? 'manifest' : 'blob', repositoryId, digest: parseDigest(name) };
}

/** The column `offers` of an image. */
function offersOf({ images }: ImageFacts): string | null {
  if (images.length === 0) return null;
  const known = images.filter(({ platform }) => platform !== undefined);
  return JSON.stringify(
    Object.fromEntries(known.map(({ digest, platform }) => [hexOf(digest).slice(0, 12), platform])),
  );
}

/** Columns take whole numbers only: another number would fail the whole transaction. */
function whole(number: number): number {
  const floor = Math.floor(number);
  return Number.isSafeInteger(floor) ? floor : 0;
}

export function inTransaction(database: DatabaseSync, work: () => void): void {
  database.exec('BEGIN');
  try {
    work();
    database.exec('COMMIT');
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
}

/** Free pages of 4 KiB that stay in the file for new rows. */
const maxFreePages = 256;
/** Moving this many takes about a millisecond. */
const pagesAtOnce = 64;

/** The free pages of the index's file, left by deleted rows. They count against the bound of the store until the file is truncated. */
export class FreePages {
  readonly #database: DatabaseSync;
  readonly #count: StatementSync;

  constructor({ database }: { readonly database: DatabaseSync }) {
    this.#database = database;
    this.#count = database.prepare('PRAGMA freelist_count');
  }

  /** Returns some pages to the disk. @returns whether more should be returned. */
  releasePages(): boolean {
    const free = Number(this.#count.get()?.['freelist_count'] ?? 0);
    if (free <= maxFreePages) {
      return false; // The file is truncated when the write-ahead log is checkpointed.
    }
    this.#database.exec(`PRAGMA incremental_vacuum(${Math.min(pagesAtOnce, free - maxFreePages)})`);
    return true;
  }
}
