import { blockBytes } from '../../mirror/ports/record-store.ts';

/** Raised with every change below: an index of another version is discarded and rebuilt from the store. */
export const schemaVersion = 9;

/** The files of one database: the names are that of the database and these. */
export const databaseSuffixes = ['', '-wal', '-shm', '-journal'];

/** SQL for the text of a digest that is stored as bytes: 32 of SHA-256, or 64 of SHA-512. */
export const textOf = (column: string): string =>
  `(CASE length(${column}) WHEN 32 THEN 'sha256:' ELSE 'sha512:' END || lower(hex(${column})))`;
/** SQL for the bytes of a digest that is text: both algorithms' names have six characters. */
export const bytesOf = (column: string): string => `unhex(substr(${column}, 8))`;

/**
 * The view's tables. A repository is stored by its full name, `<upstream>/<repository>`; an upstream's name has no `/`.
 *
 *     content   what is stored; `named_by` counts the stored manifests that name it, `kept_by` its links from kept repositories
 *     names     which manifest names what, while that manifest is stored; digests as bytes, since these are most of the rows
 *     links     which repository may serve what; `kept` where `storage.keep` names the repository
 *     repositories  those with links: how many, their bytes, how many tags, and when something was pulled through one of them last
 *     tags      which digest a tag points at
 *     recent    what was written last, by epochs of the journal of changes: a file may be missing that is written only afterwards
 *     totals    sums over `content`, and the number of links and tags
 *     manifest_totals  the length of the manifests
 *     state     whether the file was closed, and complete; the number of the last rebuild; the last run of the store that it saw; since when
 *               every use is recorded; the `storage.keep` that `kept` follows; and the epoch of the journal of changes before which nothing
 *               is missing, null if something may be
 *
 * `seen` is the number of the rebuild in which the row was written: rows that the last rebuild did not write are gone from the store.
 */
export const schema = `
  CREATE TABLE content (
    digest TEXT PRIMARY KEY, size INTEGER NOT NULL, used_at INTEGER NOT NULL, is_manifest INTEGER NOT NULL,
    named_by INTEGER NOT NULL, kept_by INTEGER NOT NULL, seen INTEGER NOT NULL
  ) WITHOUT ROWID, STRICT;
  CREATE INDEX evictable ON content (used_at) WHERE named_by = 0 AND kept_by = 0;

  CREATE TABLE names (parent BLOB NOT NULL, child BLOB NOT NULL, PRIMARY KEY (parent, child)) WITHOUT ROWID, STRICT;
  CREATE INDEX parents ON names (child);
  CREATE TRIGGER named AFTER INSERT ON names
    BEGIN UPDATE content SET named_by = named_by + 1 WHERE digest = ${textOf('NEW.child')}; END;
  CREATE TRIGGER unnamed AFTER DELETE ON names
    BEGIN UPDATE content SET named_by = named_by - 1 WHERE digest = ${textOf('OLD.child')}; END;

  CREATE TABLE links (
    digest TEXT NOT NULL, repository TEXT NOT NULL, kind TEXT NOT NULL, media_type TEXT, size INTEGER, kept INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (digest, kind, repository)
  ) WITHOUT ROWID, STRICT;
  CREATE INDEX held ON links (repository, kind);
  CREATE TRIGGER link_added AFTER INSERT ON links WHEN NEW.kept = 1
    BEGIN UPDATE content SET kept_by = kept_by + 1 WHERE digest = NEW.digest; END;
  CREATE TRIGGER link_changed AFTER UPDATE OF kept ON links WHEN NEW.kept <> OLD.kept
    BEGIN UPDATE content SET kept_by = kept_by + NEW.kept - OLD.kept WHERE digest = NEW.digest; END;
  CREATE TRIGGER link_removed AFTER DELETE ON links WHEN OLD.kept = 1
    BEGIN UPDATE content SET kept_by = kept_by - 1 WHERE digest = OLD.digest; END;

  CREATE TABLE repositories (
    name TEXT PRIMARY KEY, used_at INTEGER NOT NULL, kept INTEGER NOT NULL, links INTEGER NOT NULL, bytes INTEGER NOT NULL, tags INTEGER NOT NULL
  ) WITHOUT ROWID, STRICT;
  CREATE INDEX stalest ON repositories (used_at) WHERE kept = 0;
  CREATE INDEX repositories_by_use ON repositories (used_at);
  CREATE INDEX repositories_by_size ON repositories (bytes);
  CREATE TRIGGER repository_linked AFTER INSERT ON links BEGIN
    INSERT INTO repositories SELECT NEW.repository, 0, NEW.kept, 0, 0, (SELECT count(*) FROM tags WHERE repository = NEW.repository)
      WHERE NOT EXISTS (SELECT 1 FROM repositories WHERE name = NEW.repository);
    UPDATE repositories SET links = links + 1, bytes = bytes + coalesce(NEW.size, 0),
      used_at = max(used_at, coalesce((SELECT used_at FROM content WHERE digest = NEW.digest), 0)) WHERE name = NEW.repository;
  END;
  CREATE TRIGGER link_measured AFTER UPDATE OF size ON links WHEN NEW.size IS NOT OLD.size
    BEGIN UPDATE repositories SET bytes = bytes + coalesce(NEW.size, 0) - coalesce(OLD.size, 0) WHERE name = NEW.repository; END;
  CREATE TRIGGER repository_kept AFTER UPDATE OF kept ON links WHEN NEW.kept <> OLD.kept
    BEGIN UPDATE repositories SET kept = NEW.kept WHERE name = NEW.repository; END;
  CREATE TRIGGER repository_unlinked AFTER DELETE ON links BEGIN
    UPDATE repositories SET links = links - 1, bytes = bytes - coalesce(OLD.size, 0) WHERE name = OLD.repository;
    DELETE FROM repositories WHERE name = OLD.repository AND links = 0;
  END;

  CREATE TABLE tags (
    repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL, seen INTEGER NOT NULL,
    PRIMARY KEY (repository, tag)
  ) WITHOUT ROWID, STRICT;
  CREATE INDEX tagged ON tags (digest);

  CREATE TABLE recent (epoch INTEGER NOT NULL, kind TEXT NOT NULL, repository TEXT NOT NULL, name TEXT NOT NULL) STRICT;

  CREATE TABLE state (
    is_closed INTEGER NOT NULL, is_complete INTEGER NOT NULL, rebuild INTEGER NOT NULL, run TEXT, watching_since INTEGER NOT NULL,
    keep TEXT NOT NULL, epoch INTEGER
  ) STRICT;
  INSERT INTO state VALUES (1, 0, 0, NULL, 0, '[]', NULL);
  PRAGMA user_version = ${schemaVersion};
`;

/** The disk use of a file: whole blocks. */
const onDisk = (size: string): string => `((${size} + ${blockBytes - 1}) / ${blockBytes} * ${blockBytes})`;

/** Adds a row of `content` to the totals (`+`), or subtracts it (`-`). */
const count = (sign: '+' | '-', row: 'NEW' | 'OLD'): string => `
  UPDATE totals SET bytes = bytes ${sign} ${row}.size, disk_bytes = disk_bytes ${sign} ${onDisk(`${row}.size`)},
    kept_bytes = kept_bytes ${sign} iif(${row}.kept_by > 0, ${onDisk(`${row}.size`)}, 0),
    manifests = manifests ${sign} ${row}.is_manifest, blobs = blobs ${sign} (1 - ${row}.is_manifest);`;

/** Totals are kept with every row, so that a start need not count. */
export const totalsSchema = `
  CREATE TABLE totals (
    bytes INTEGER NOT NULL, disk_bytes INTEGER NOT NULL, kept_bytes INTEGER NOT NULL, manifests INTEGER NOT NULL,
    blobs INTEGER NOT NULL, records INTEGER NOT NULL
  ) STRICT;
  INSERT INTO totals VALUES (0, 0, 0, 0, 0, 0);
  CREATE TRIGGER content_added AFTER INSERT ON content BEGIN ${count('+', 'NEW')} END;
  CREATE TRIGGER content_changed AFTER UPDATE OF size, is_manifest, kept_by ON content
    BEGIN ${count('-', 'OLD')} ${count('+', 'NEW')} END;
  CREATE TRIGGER content_removed AFTER DELETE ON content BEGIN ${count('-', 'OLD')} END;
  CREATE TRIGGER link_noted AFTER INSERT ON links BEGIN UPDATE totals SET records = records + 1; END;
  CREATE TRIGGER link_gone AFTER DELETE ON links BEGIN UPDATE totals SET records = records - 1; END;
  CREATE TRIGGER tag_noted AFTER INSERT ON tags BEGIN UPDATE totals SET records = records + 1; END;
  CREATE TRIGGER tag_gone AFTER DELETE ON tags BEGIN UPDATE totals SET records = records - 1; END;
`;

/** Kept apart from `totals`, so that an index without it need not be discarded: it is counted once when that is opened. */
export const manifestTotalsSchema = `
  CREATE TABLE manifest_totals (bytes INTEGER NOT NULL) STRICT;
  INSERT INTO manifest_totals SELECT coalesce(sum(size), 0) FROM content WHERE is_manifest = 1;
  CREATE TRIGGER manifest_bytes_added AFTER INSERT ON content WHEN NEW.is_manifest = 1
    BEGIN UPDATE manifest_totals SET bytes = bytes + NEW.size; END;
  CREATE TRIGGER manifest_bytes_changed AFTER UPDATE OF size, is_manifest ON content WHEN NEW.is_manifest = 1 OR OLD.is_manifest = 1
    BEGIN UPDATE manifest_totals SET bytes = bytes + NEW.is_manifest * NEW.size - OLD.is_manifest * OLD.size; END;
  CREATE TRIGGER manifest_bytes_removed AFTER DELETE ON content WHEN OLD.is_manifest = 1
    BEGIN UPDATE manifest_totals SET bytes = bytes - OLD.size; END;
`;

/** A use further ahead came from a wrong wall clock. Milliseconds. */
export const maxClockErrorMs = 24 * 3_600_000;
