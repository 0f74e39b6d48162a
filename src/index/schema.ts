/** Raised with every change below: an index of another version is thrown away and built anew from the store. */
export const schemaVersion = 4;

/** SQL for the text of a digest that is stored as bytes: 32 of SHA-256, or 64 of SHA-512. */
export const textOf = (column: string): string =>
  `(CASE length(${column}) WHEN 32 THEN 'sha256:' ELSE 'sha512:' END || lower(hex(${column})))`;
/** SQL for the bytes of a digest that is text: both algorithms' names have six characters. */
export const bytesOf = (column: string): string => `unhex(substr(${column}, 8))`;

/**
 * The view's tables. A repository is stored by its full name, `<upstream>/<repository>`; an upstream's name has no `/`.
 *
 *     content   what is stored; `named_by` counts the stored manifests that name it, `kept_by` its links of kept repositories
 *     names     which manifest names what, while that manifest is stored; digests as bytes, since these are most of the rows
 *     links     which repository may serve what; `kept` where `storage.keep` names the repository
 *     tags      which digest a tag points at
 *     state     whether the file was closed with all of the view in it, the number of the last rebuild, which run of the store it has
 *               seen last, since when it has seen every use, and the `storage.keep` that `kept` was decided by
 *
 * `seen` is the number of the last rebuild when the row was noted: what a rebuild has not seen when it ends is gone from the store.
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

  CREATE TABLE tags (
    repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL, seen INTEGER NOT NULL,
    PRIMARY KEY (repository, tag)
  ) WITHOUT ROWID, STRICT;
  CREATE INDEX tagged ON tags (digest);

  CREATE TABLE state (
    is_complete INTEGER NOT NULL, rebuild INTEGER NOT NULL, run TEXT, watching_since INTEGER NOT NULL, keep TEXT NOT NULL
  ) STRICT;
  INSERT INTO state VALUES (0, 0, NULL, 0, '[]');
  PRAGMA user_version = ${schemaVersion};
`;

/** Totals are counted once at start and live in memory from then on, so that asking for them costs nothing. */
export const countTotals = `
  CREATE TEMP TABLE totals (
    bytes INTEGER NOT NULL, manifests INTEGER NOT NULL, blobs INTEGER NOT NULL, kept_bytes INTEGER NOT NULL
  ) STRICT;
  INSERT INTO totals SELECT coalesce(sum(size), 0), coalesce(sum(is_manifest), 0), count(*) - coalesce(sum(is_manifest), 0),
    coalesce(sum(size) FILTER (WHERE kept_by > 0), 0) FROM content;
  CREATE TEMP TRIGGER content_added AFTER INSERT ON main.content BEGIN
    UPDATE totals SET bytes = bytes + NEW.size, manifests = manifests + NEW.is_manifest, blobs = blobs + 1 - NEW.is_manifest,
      kept_bytes = kept_bytes + iif(NEW.kept_by > 0, NEW.size, 0);
  END;
  CREATE TEMP TRIGGER content_changed AFTER UPDATE OF size, is_manifest, kept_by ON main.content BEGIN
    UPDATE totals SET bytes = bytes + NEW.size - OLD.size, manifests = manifests + NEW.is_manifest - OLD.is_manifest,
      blobs = blobs + OLD.is_manifest - NEW.is_manifest,
      kept_bytes = kept_bytes + iif(NEW.kept_by > 0, NEW.size, 0) - iif(OLD.kept_by > 0, OLD.size, 0);
  END;
  CREATE TEMP TRIGGER content_removed AFTER DELETE ON main.content BEGIN
    UPDATE totals SET bytes = bytes - OLD.size, manifests = manifests - OLD.is_manifest, blobs = blobs - 1 + OLD.is_manifest,
      kept_bytes = kept_bytes - iif(OLD.kept_by > 0, OLD.size, 0);
  END;
`;

/** Mends what a process that ended between two flushes left half said. */
export const mend = `
  DELETE FROM names WHERE NOT EXISTS (SELECT 1 FROM content WHERE digest = ${textOf('parent')});
  UPDATE content SET named_by = (SELECT count(*) FROM names WHERE child = ${bytesOf('digest')})
    WHERE named_by <> (SELECT count(*) FROM names WHERE child = ${bytesOf('digest')});
`;
