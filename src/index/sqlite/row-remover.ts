import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { RecordKey } from '../../mirror/ports/record-store.ts';
import { type Digest, parseDigest } from '../../oci/digest.ts';
import { parseTag } from '../../oci/reference.ts';
import { repositoryKey, repositoryNamed } from '../../mirror/ports/repository-id.ts';
import { type Row, textIn } from './rows.ts';

/** Rows per step of a sweep. */
const rowsAtOnce = 250;
/** Greater than every digest and every repository's name. */
const end = '~';

/** Removes rows from the index's file. */
export class RowRemover {
  readonly #content: StatementSync;
  readonly #links: StatementSync;
  readonly #manyLinks: StatementSync;
  readonly #someLinks: StatementSync;
  readonly #tags: StatementSync;
  readonly #recordsOf: readonly StatementSync[];
  readonly #recordsOfRepository: readonly StatementSync[];
  readonly #link: StatementSync;
  readonly #tag: StatementSync;
  readonly #seen: StatementSync;
  readonly #repositoryLinks: StatementSync;
  readonly #repositoryTags: StatementSync;
  readonly #sweeps: readonly { readonly boundary: StatementSync; readonly remove: StatementSync }[];

  constructor({ database }: { database: DatabaseSync }) {
    this.#content = database.prepare('DELETE FROM content WHERE digest = ?');
    this.#links = database.prepare('DELETE FROM links WHERE digest = ? RETURNING repository, kind');
    this.#manyLinks = database.prepare(`SELECT 1 FROM links WHERE digest = ? LIMIT 1 OFFSET ${rowsAtOnce}`);
    this.#someLinks = database.prepare(`
      DELETE FROM links WHERE (digest, kind, repository) IN (
        SELECT digest, kind, repository FROM links WHERE digest = ? LIMIT ${rowsAtOnce}
      ) RETURNING repository, kind`);
    this.#tags = database.prepare('DELETE FROM tags WHERE digest = ? RETURNING repository, tag');
    this.#recordsOf = [
      database.prepare('SELECT repository, kind, digest FROM links WHERE digest = ?'),
      database.prepare('SELECT repository, tag FROM tags WHERE digest = ?'),
    ];
    this.#recordsOfRepository = [
      database.prepare(
        `SELECT repository, kind, digest FROM links INDEXED BY held WHERE repository = ? LIMIT ${rowsAtOnce}`,
      ),
      database.prepare(`SELECT repository, tag FROM tags WHERE repository = ? LIMIT ${rowsAtOnce}`),
    ];
    this.#link = database.prepare('DELETE FROM links WHERE digest = ? AND kind = ? AND repository = ? AND seen < ?');
    this.#tag = database.prepare('DELETE FROM tags WHERE repository = ? AND tag = ? AND seen < ?');
    this.#seen = database.prepare('SELECT 1 FROM content WHERE digest = ? AND seen >= ?');
    this.#repositoryLinks = database.prepare(`
      DELETE FROM links WHERE (digest, kind, repository) IN (
        SELECT digest, kind, repository FROM links INDEXED BY held WHERE repository = ? LIMIT ${rowsAtOnce}
      ) RETURNING repository, kind, digest`);
    this.#repositoryTags = database.prepare(`
      DELETE FROM tags WHERE (repository, tag) IN (
        SELECT repository, tag FROM tags WHERE repository = ? LIMIT ${rowsAtOnce}
      ) RETURNING repository, tag`);
    this.#sweeps = [
      { table: 'content', key: 'digest' },
      { table: 'links', key: 'digest' },
      { table: 'tags', key: 'repository' },
    ].map(({ table, key }) => ({
      boundary: database.prepare(
        `SELECT ${key} AS key FROM ${table} WHERE ${key} > ? ORDER BY ${key} LIMIT 1 OFFSET ${rowsAtOnce}`,
      ),
      remove: database.prepare(
        `DELETE FROM ${table} WHERE ${key} > ? AND ${key} <= ? AND seen < ? RETURNING '${table}' AS source, digest`,
      ),
    }));
  }

  /**
   * Removes the links of a digest in steps, while there are many: a base layer may have thousands. `remove` removes the rest.
   * @returns with each step the records of the removed links.
   */
  *removeManyLinks(digest: Digest): Iterable<readonly RecordKey[]> {
    while (this.#manyLinks.get(digest)) yield this.#someLinks.all(digest).map((row) => linkKey(row, digest));
  }

  /** Removes everything about a digest except the names it gave. @returns the records of its links and tags. */
  remove(digest: Digest): readonly RecordKey[] {
    this.#content.run(digest);
    const links = this.#links.all(digest).map((row) => linkKey(row, digest));
    return [...links, ...this.#tags.all(digest).map(recordKeyOfTag)];
  }

  /** The records of the links and tags of a digest. */
  recordsOf(digest: Digest): readonly RecordKey[] {
    return this.#recordsOf.flatMap((statement) => statement.all(digest).map(recordKeyIn));
  }

  /** The records of some links and tags of a repository: those that {@link removeOfRepository} removes next. */
  recordsOfRepository(repository: string): readonly RecordKey[] {
    return this.#recordsOfRepository.flatMap((statement) => statement.all(repository).map(recordKeyIn));
  }

  /** Removes the row of a link or a tag, unless it was written since this rebuild began. Of any other record there is none. */
  removeRecord(key: RecordKey, rebuild: number): void {
    const repository = repositoryKey(key.repositoryId);
    if ('digest' in key) this.#link.run(key.digest, key.kind, repository, rebuild);
    else if (key.kind === 'tag') this.#tag.run(repository, key.tag, rebuild);
  }

  /** Whether content was written since this rebuild began. */
  isSeen(digest: Digest, rebuild: number): boolean {
    return this.#seen.get(digest, rebuild) !== undefined;
  }

  /** Removes some links and tags of a repository. @returns their records; none when no more are left. */
  removeOfRepository(repository: string): readonly RecordKey[] {
    const links = this.#repositoryLinks.all(repository).map((row) => linkKey(row, parseDigest(textIn(row, 'digest'))));
    return [...links, ...this.#repositoryTags.all(repository).map(recordKeyOfTag)];
  }

  /**
   * Removes the rows that `rebuild` did not find, in steps.
   * @returns with each step the removed content, whose names must be removed too.
   */
  *removeUnseen(rebuild: number): Iterable<readonly Digest[]> {
    for (const { boundary, remove } of this.#sweeps) {
      for (let from = '', to = ''; from !== end; from = to) {
        const row = boundary.get(from);
        to = row ? textIn(row, 'key') : end;
        yield remove
          .all(from, to, rebuild)
          .flatMap((gone) => (gone['source'] === 'content' ? [parseDigest(textIn(gone, 'digest'))] : []));
      }
    }
  }
}

function linkKey(row: Row, digest: Digest): RecordKey {
  const kind = textIn(row, 'kind') === 'manifest' ? 'manifest' : 'blob';
  return { kind, repositoryId: repositoryNamed(textIn(row, 'repository')), digest };
}

function recordKeyIn(row: Row): RecordKey {
  return row['tag'] === undefined ? linkKey(row, parseDigest(textIn(row, 'digest'))) : recordKeyOfTag(row);
}

function recordKeyOfTag(row: Row): RecordKey {
  return { kind: 'tag', repositoryId: repositoryNamed(textIn(row, 'repository')), tag: parseTag(textIn(row, 'tag')) };
}
