import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { IndexOperation, StoreObserver } from '../../mirror/ports/observer.ts';
import { bytesOnDisk, type RecordKey } from '../../mirror/ports/record-store.ts';
import { type RepositoryId, repositoryKey, repositoryNamed } from '../../mirror/ports/repository-id.ts';
import {
  type ContentDetails,
  type EvictableContent,
  type EvictionPosition,
  type IndexedTag,
  type Link,
  type LinkPage,
  type StaleRepository,
  type TagPage,
  type Totals,
  maxLinkedRepositories,
  mostDetails,
  maxTagsOfOne,
} from '../../mirror/ports/store-index.ts';
import { type Digest, parseDigest } from '../../oci/digest.ts';
import { isMediaType } from '../../oci/media-types.ts';
import { parseTag } from '../../oci/reference.ts';
import { digestBytes, numberIn, type Row, textIn } from './rows.ts';
import { type IndexFiles, maxWalBytes } from './open-database.ts';
import { bytesOf, databaseSuffixes, textOf } from './schema.ts';

/** With more parents than this it is cheaper to go through the repository's manifests. */
const manyParents = 200;

/** Queries of the index's file, by prepared statements. */
export class ViewReader {
  readonly #linkedRepositories: StatementSync;
  readonly #isLinked: StatementSync;
  readonly #parents: StatementSync;
  readonly #isNamedByParent: StatementSync;
  readonly #isNamedInRepository: StatementSync;
  readonly #nextRepository: StatementSync;
  readonly #tagsAfter: StatementSync;
  readonly #heldAfter: StatementSync;
  readonly #content: StatementSync;
  readonly #linkedBy: StatementSync;
  readonly #taggedBy: StatementSync;
  readonly #namedBy: StatementSync;
  readonly #names: StatementSync;
  readonly #isKnown: StatementSync;
  readonly #hasContent: StatementSync;
  readonly #totals: StatementSync;
  readonly #isStored: StatementSync;
  readonly #isTagNeeded: StatementSync;
  readonly #isLinkedToStored: StatementSync;
  readonly #stalest: StatementSync;
  readonly #evictable: StatementSync;

  constructor({ database }: { database: DatabaseSync }) {
    this.#linkedRepositories = database.prepare(`
      SELECT repository, media_type, size FROM links
      WHERE digest = ? AND kind = ? AND repository > ? AND repository < ? LIMIT ${maxLinkedRepositories}`);
    this.#isLinked = database.prepare("SELECT 1 FROM links WHERE digest = ? AND kind = 'manifest' AND repository = ?");
    this.#parents = database.prepare('SELECT count(*) AS parents FROM (SELECT 1 FROM names WHERE child = ? LIMIT ?)');
    this.#isNamedByParent = database.prepare(`
      SELECT EXISTS (SELECT 1 FROM names CROSS JOIN links ON digest = ${textOf('parent')} AND kind = 'manifest' AND repository = ?2
        WHERE child = ?1) AS found`);
    this.#isNamedInRepository = database.prepare(`
      SELECT EXISTS (SELECT 1 FROM links INDEXED BY held CROSS JOIN names ON parent = ${bytesOf('digest')} AND child = ?1
        WHERE repository = ?2 AND kind = 'manifest') AS found`);
    this.#nextRepository = database.prepare(
      'SELECT repository FROM links INDEXED BY held WHERE repository > ? ORDER BY repository LIMIT 1',
    );
    this.#tagsAfter = database.prepare(`
      SELECT tag, digest, EXISTS (SELECT 1 FROM content WHERE content.digest = tags.digest) AS found FROM tags
      WHERE repository = ? AND tag > ? ORDER BY tag LIMIT ?`);
    this.#heldAfter = database.prepare(`
      SELECT digest FROM links INDEXED BY held WHERE repository = ?1 AND kind = 'blob' AND digest > ?2
      UNION SELECT digest FROM links INDEXED BY held WHERE repository = ?1 AND kind = 'manifest' AND digest > ?2
      ORDER BY digest LIMIT ?3`);
    this.#content = database.prepare('SELECT size, used_at, is_manifest FROM content WHERE digest = ?');
    this.#linkedBy = database.prepare(`SELECT repository FROM links WHERE digest = ? LIMIT ${mostDetails}`);
    this.#taggedBy = database.prepare(`SELECT repository, tag FROM tags WHERE digest = ? LIMIT ${mostDetails}`);
    this.#namedBy = database.prepare(
      `SELECT ${textOf('parent')} AS digest FROM names WHERE child = ? LIMIT ${mostDetails}`,
    );
    this.#names = database.prepare(`SELECT ${textOf('child')} AS digest FROM names WHERE parent = ?`);
    this.#isKnown = database.prepare('SELECT EXISTS (SELECT 1 FROM content WHERE digest = ?) AS found');
    this.#hasContent = database.prepare(`
      SELECT EXISTS (SELECT 1 FROM links INDEXED BY held CROSS JOIN content USING (digest) WHERE repository = ?) AS found`);
    this.#isStored = database.prepare('SELECT EXISTS (SELECT 1 FROM content WHERE digest = ?) AS found');
    this.#isTagNeeded = database.prepare(`
      SELECT EXISTS (
        SELECT 1 FROM tags AS asked JOIN content USING (digest) JOIN links USING (digest, repository)
        WHERE repository = ? AND tag = ? AND kind = 'manifest' AND (
          SELECT count(*) FROM (
            SELECT 1 FROM tags WHERE digest = asked.digest AND repository = asked.repository LIMIT ${maxTagsOfOne + 1}
          )) <= ${maxTagsOfOne}
      ) AS found`);
    this.#isLinkedToStored = database.prepare(`
      SELECT EXISTS (SELECT 1 FROM links JOIN content USING (digest) WHERE digest = ? AND repository = ?) AS found`);
    this.#stalest = database.prepare(
      'SELECT name, used_at FROM repositories INDEXED BY stalest WHERE kept = 0 ORDER BY used_at, name LIMIT 1 OFFSET ?',
    );
    this.#totals = database.prepare(
      'SELECT totals.bytes, manifest_totals.bytes AS manifest_bytes, disk_bytes, kept_bytes, manifests, blobs, records FROM totals, manifest_totals',
    );
    this.#evictable = database.prepare(`
      SELECT digest, size, used_at, is_manifest FROM content INDEXED BY evictable WHERE named_by = 0 AND kept_by = 0
      AND (used_at, digest) > (?, ?) ORDER BY used_at, digest LIMIT ?`);
  }

  /**
   * Considers links of one upstream only: `0` is the character after `/`. Other repositories are looked at only for what this one names.
   * @param parents manifests that name the digest and are not in the file yet.
   */
  borrowableLinks(
    repositoryId: RepositoryId,
    digest: Digest,
    { kind, parents }: { readonly kind: Link['kind']; readonly parents: Iterable<Digest> },
  ): readonly Link[] {
    if (!this.#isNamedIn(repositoryId, digest) && !this.#holdsSome(repositoryId, parents)) return [];
    const { upstream } = repositoryId;
    return this.#linkedRepositories
      .all(digest, kind, `${upstream}/`, `${upstream}0`)
      .map((row) => ({ ...linkIn(row), kind, digest }));
  }

  hasContent(digest: Digest): boolean {
    return this.#isTrue(this.#isKnown.get(digest));
  }

  /** Jumps from each repository to the next, so that the cost does not depend on their number of links. */
  repositories(last: string | undefined, limit: number): readonly string[] {
    const found: string[] = [];
    for (let row = this.#nextRepository.get(last ?? ''); row && found.length < limit; ) {
      const name = textIn(row, 'repository');
      if (this.#isTrue(this.#hasContent.get(name))) found.push(name);
      row = this.#nextRepository.get(name);
    }
    return found;
  }

  tags(repositoryId: RepositoryId, { after, limit }: TagPage): readonly IndexedTag[] {
    return this.#tagsAfter.all(repositoryKey(repositoryId), after ?? '', limit).map((row) => ({
      tag: parseTag(textIn(row, 'tag')),
      digest: parseDigest(textIn(row, 'digest')),
      isStored: this.#isTrue(row),
    }));
  }

  links(repositoryId: RepositoryId, { after, limit }: LinkPage): readonly Digest[] {
    return this.#heldAfter.all(repositoryKey(repositoryId), after ?? '', limit).map(digestIn);
  }

  details(digest: Digest): ContentDetails {
    const row = this.#content.get(digest);
    return {
      content: row && {
        size: numberIn(row, 'size'),
        isManifest: numberIn(row, 'is_manifest') === 1,
        usedAtMs: numberIn(row, 'used_at'),
      },
      linkedBy: this.#linkedBy.all(digest).map((link) => repositoryNamed(textIn(link, 'repository'))),
      tags: this.#taggedBy.all(digest).map((tagged) => ({
        repositoryId: repositoryNamed(textIn(tagged, 'repository')),
        tag: parseTag(textIn(tagged, 'tag')),
      })),
      namedBy: this.#namedBy.all(digestBytes(digest)).map(digestIn),
      names: this.#names.all(digestBytes(digest)).map(digestIn),
    };
  }

  /** Whether the content of a record is stored. */
  isNeeded(key: RecordKey): boolean {
    switch (key.kind) {
      case 'tag':
        return this.#isTrue(this.#isTagNeeded.get(repositoryKey(key.repositoryId), key.tag));
      case 'tag-list':
      case 'visibility':
        return this.#isTrue(this.#hasContent.get(repositoryKey(key.repositoryId)));
      case 'referrers':
        return this.#isTrue(this.#isLinkedToStored.get(key.digest, repositoryKey(key.repositoryId)));
      case 'manifest':
      case 'blob':
        return this.#isTrue(this.#isStored.get(key.digest));
    }
  }

  totals(): Totals {
    const row = this.#totals.get() ?? {};
    return {
      bytes: numberIn(row, 'bytes'),
      manifestBytes: numberIn(row, 'manifest_bytes'),
      manifests: numberIn(row, 'manifests'),
      blobs: numberIn(row, 'blobs'),
      diskBytes: numberIn(row, 'disk_bytes'),
      keptBytes: numberIn(row, 'kept_bytes'),
      records: numberIn(row, 'records'),
    };
  }

  /** The least recently pulled repository that is not kept. */
  stalestRepository(skip: number): StaleRepository | undefined {
    const row = this.#stalest.get(skip);
    return row && { repositoryId: repositoryNamed(textIn(row, 'name')), usedAtMs: numberIn(row, 'used_at') };
  }

  evictable(limit: number, after: EvictionPosition | undefined): readonly EvictableContent[] {
    return this.#evictable.all(after?.usedAtMs ?? -1, after?.digest ?? '', limit).map((row) => ({
      digest: parseDigest(textIn(row, 'digest')),
      size: numberIn(row, 'size'),
      diskBytes: bytesOnDisk(numberIn(row, 'size')),
      isManifest: numberIn(row, 'is_manifest') === 1,
      usedAtMs: numberIn(row, 'used_at'),
    }));
  }

  /** A base layer has thousands of parents, a repository of nightly builds thousands of manifests: uses the shorter list. */
  #isNamedIn(repositoryId: RepositoryId, digest: Digest): boolean {
    const child = digestBytes(digest);
    const parents = numberIn(this.#parents.get(child, manyParents) ?? {}, 'parents');
    const query = parents < manyParents ? this.#isNamedByParent : this.#isNamedInRepository;
    return this.#isTrue(query.get(child, repositoryKey(repositoryId)));
  }

  #holdsSome(repositoryId: RepositoryId, manifests: Iterable<Digest>): boolean {
    for (const manifest of manifests) if (this.#isLinked.get(manifest, repositoryKey(repositoryId))) return true;
    return false;
  }

  #isTrue(row: Row | undefined): boolean {
    return row?.['found'] === 1;
  }
}

/** What can be asked of the index's file. */
export type ViewQueries = Pick<ViewReader, keyof ViewReader>;

export interface TimedQueriesDeps {
  readonly observer: Pick<StoreObserver, 'indexAnswered'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
}

/** The same queries; the observer learns how long each took. */
export function timedQueries(reader: ViewQueries, { observer, clock }: TimedQueriesDeps): ViewQueries {
  const timed = <Answer>(operation: IndexOperation, query: () => Answer): Answer => {
    const startedAtMs = clock.monotonicMs();
    try {
      return query();
    } finally {
      observer.indexAnswered({ operation, durationMs: clock.monotonicMs() - startedAtMs });
    }
  };
  return {
    borrowableLinks: (...asked) => timed('borrow', () => reader.borrowableLinks(...asked)),
    hasContent: (digest) => timed('find', () => reader.hasContent(digest)),
    isNeeded: (key) => timed('find', () => reader.isNeeded(key)),
    details: (digest) => timed('find', () => reader.details(digest)),
    repositories: (...asked) => timed('list', () => reader.repositories(...asked)),
    tags: (...asked) => timed('list', () => reader.tags(...asked)),
    links: (...asked) => timed('list', () => reader.links(...asked)),
    totals: () => timed('find', () => reader.totals()),
    stalestRepository: (skip) => timed('evict', () => reader.stalestRepository(skip)),
    evictable: (...asked) => timed('evict', () => reader.evictable(...asked)),
  };
}

function linkIn(row: Row): Pick<Link, 'repositoryId' | 'mediaType' | 'size'> {
  return {
    repositoryId: repositoryNamed(textIn(row, 'repository')),
    mediaType: isMediaType(row['media_type']) ? row['media_type'] : undefined,
    size: row['size'] === null ? undefined : numberIn(row, 'size'),
  };
}

/** The size of all files of a database. Of its write-ahead log only what stays: nothing is evicted for what is emptied in a moment. */
export async function databaseBytes({
  path,
  files,
}: {
  readonly path: string;
  readonly files: Pick<IndexFiles, 'size'>;
}): Promise<number> {
  const sizeOf = async (suffix: string) => {
    const size = await files.size(`${path}${suffix}`);
    return suffix === '-wal' ? Math.min(size, maxWalBytes) : size;
  };
  const sizes = await Promise.all(databaseSuffixes.map(sizeOf));
  return sizes.reduce((sum, size) => sum + size, 0);
}

function digestIn(row: Row): Digest {
  return parseDigest(textIn(row, 'digest'));
}
