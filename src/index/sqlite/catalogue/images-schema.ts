import { bytesOf, textOf } from '../schema.ts';

/** A manifest of more image indexes than this changes what is told of so many. */
const mostParents = 100;

/** SQL for the platforms of a text such as `,linux/amd64,linux/arm64/v8,`, each a row. */
const platformsIn = (text: string): string =>
  `json_each('["' || replace(trim(${text}, ','), ',', '","') || '"]') AS platform`;

/** SQL for the platform that an image index tells of an image; null if it tells none. */
const offered = (offers: string, child: string): string => `(${offers} ->> lower(hex(substr(${child}, 1, 6))))`;

/** Counts the bytes and platforms of image indexes anew, from what is stored of them. */
const gather = (which: string): string => `
  UPDATE images SET
    bytes = own + coalesce((SELECT sum(child.bytes) FROM names
      JOIN images AS child ON child.digest = ${textOf('names.child')} AND child.is_stored = 1
      WHERE names.parent = ${bytesOf('images.digest')}), 0),
    platforms = coalesce((SELECT ',' || group_concat(platform) || ',' FROM (
      SELECT DISTINCT ${offered('images.offers', 'names.child')} AS platform FROM names
      JOIN images AS child ON child.digest = ${textOf('names.child')} AND child.is_stored = 1
      WHERE names.parent = ${bytesOf('images.digest')} AND platform IS NOT NULL ORDER BY 1)), '')
  WHERE offers IS NOT NULL AND ${which};`;

const gatherParentsOf = (digest: string): string =>
  gather(`digest IN (SELECT ${textOf('parent')} FROM names WHERE child = ${bytesOf(digest)} LIMIT ${mostParents})`);

/** An image has the platform that an image index tells of it. */
const learn = (digest: string): string => `
  UPDATE images SET platforms = coalesce((
    SELECT ',' || ${offered('parent.offers', 'names.child')} || ',' FROM names
      JOIN images AS parent ON parent.digest = ${textOf('names.parent')} AND parent.offers IS NOT NULL
      WHERE names.child = ${bytesOf(digest)} AND ${offered('parent.offers', 'names.child')} IS NOT NULL LIMIT 1), '')
  WHERE digest = ${digest} AND offers IS NULL AND platforms = '';`;

/** Remembers that repositories have images of these platforms. */
const addPlatforms = (platforms: string, digest: string, ofRepository = ''): string => `
  INSERT OR IGNORE INTO repository_platforms SELECT repository, platform.value FROM links, ${platformsIn(platforms)}
    WHERE ${platforms} <> '' AND digest = ${digest} AND kind = 'manifest' ${ofRepository};`;

/**
 * The tables for what operators browse:
 *
 *     images  manifests that are stored or tagged; `own` is the length of one and of what it names except other manifests, `bytes` also that of the
 *             images of an index that are stored; `offers` is null except of an image index: a JSON object, the platforms by the first six
 *             bytes of digests; `platforms` those that are stored, as `,linux/amd64,linux/arm64/v8,`; `tags` counts those that point at it
 *     repository_platforms  platforms that images of a repository have, or had: a repository without its row has none
 *
 * Triggers keep them, so that they change in the same transaction as what they follow from.
 */
export const catalogueSchema = `
  CREATE TABLE images (
    digest TEXT PRIMARY KEY, is_stored INTEGER NOT NULL, tags INTEGER NOT NULL, media_type TEXT, first_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL, own INTEGER NOT NULL, bytes INTEGER NOT NULL, offers TEXT, platforms TEXT NOT NULL
  ) WITHOUT ROWID, STRICT;
  CREATE INDEX images_by_use ON images (used_at, digest, bytes, platforms, tags) WHERE tags > 0;
  CREATE INDEX images_by_size ON images (bytes, digest, platforms, tags) WHERE tags > 0;

  CREATE TABLE repository_platforms (repository TEXT NOT NULL, platform TEXT NOT NULL, PRIMARY KEY (repository, platform)) WITHOUT ROWID, STRICT;

  CREATE TRIGGER manifest_added AFTER INSERT ON content WHEN NEW.is_manifest = 1 BEGIN
    INSERT INTO images VALUES (NEW.digest, 1, 0, NULL, NEW.used_at, NEW.used_at, NEW.size, NEW.size, NULL, '')
      ON CONFLICT (digest) DO UPDATE SET is_stored = 1, first_at = NEW.used_at, used_at = NEW.used_at, own = NEW.size, bytes = NEW.size;
    ${gatherParentsOf('NEW.digest')}
  END;
  CREATE TRIGGER manifest_recognised AFTER UPDATE OF is_manifest ON content WHEN NEW.is_manifest = 1 AND OLD.is_manifest = 0 BEGIN
    INSERT INTO images VALUES (NEW.digest, 1, 0, NULL, NEW.used_at, NEW.used_at, NEW.size, NEW.size, NULL, '')
      ON CONFLICT (digest) DO UPDATE SET is_stored = 1, first_at = NEW.used_at, used_at = NEW.used_at, own = NEW.size, bytes = NEW.size;
    ${gatherParentsOf('NEW.digest')}
  END;
  CREATE TRIGGER manifest_used AFTER UPDATE OF used_at ON content WHEN NEW.is_manifest = 1 AND NEW.used_at <> OLD.used_at
    BEGIN UPDATE images SET used_at = NEW.used_at WHERE digest = NEW.digest; END;
  CREATE TRIGGER manifest_removed AFTER DELETE ON content WHEN OLD.is_manifest = 1 BEGIN
    UPDATE images SET is_stored = 0, media_type = NULL, first_at = 0, used_at = 0, own = 0, bytes = 0, offers = NULL, platforms = ''
      WHERE digest = OLD.digest AND tags > 0;
    DELETE FROM images WHERE digest = OLD.digest AND tags = 0;
    ${gatherParentsOf('OLD.digest')}
  END;

  CREATE TRIGGER image_read AFTER UPDATE OF own ON images
    BEGIN ${gather('digest = NEW.digest')} ${gatherParentsOf('NEW.digest')} ${learn('NEW.digest')} END;
  CREATE TRIGGER child_named AFTER INSERT ON names
    WHEN EXISTS (SELECT 1 FROM images WHERE digest = ${textOf('NEW.child')} AND is_stored = 1) BEGIN
    ${gather(`digest = ${textOf('NEW.parent')}`)}
    ${learn(textOf('NEW.child'))}
  END;
  CREATE TRIGGER platforms_found AFTER UPDATE OF platforms ON images WHEN NEW.platforms <> OLD.platforms
    BEGIN ${addPlatforms('NEW.platforms', 'NEW.digest')} END;
  CREATE TRIGGER manifest_linked AFTER INSERT ON links WHEN NEW.kind = 'manifest'
    BEGIN ${addPlatforms(
      '(SELECT platforms FROM images WHERE digest = NEW.digest)',
      'NEW.digest',
      'AND repository = NEW.repository',
    )} END;
  CREATE TRIGGER repository_gone AFTER DELETE ON repositories
    BEGIN DELETE FROM repository_platforms WHERE repository = OLD.name; END;

  CREATE TRIGGER tag_added AFTER INSERT ON tags BEGIN
    INSERT INTO images VALUES (NEW.digest, 0, 1, NULL, 0, 0, 0, 0, NULL, '') ON CONFLICT (digest) DO UPDATE SET tags = tags + 1;
    UPDATE repositories SET tags = tags + 1 WHERE name = NEW.repository;
  END;
  CREATE TRIGGER tag_moved AFTER UPDATE OF digest ON tags WHEN NEW.digest <> OLD.digest BEGIN
    INSERT INTO images VALUES (NEW.digest, 0, 1, NULL, 0, 0, 0, 0, NULL, '') ON CONFLICT (digest) DO UPDATE SET tags = tags + 1;
    UPDATE images SET tags = tags - 1 WHERE digest = OLD.digest;
    DELETE FROM images WHERE digest = OLD.digest AND tags = 0 AND is_stored = 0;
  END;
  CREATE TRIGGER tag_removed AFTER DELETE ON tags BEGIN
    UPDATE images SET tags = tags - 1 WHERE digest = OLD.digest;
    DELETE FROM images WHERE digest = OLD.digest AND tags = 0 AND is_stored = 0;
    UPDATE repositories SET tags = tags - 1 WHERE name = OLD.repository;
  END;
`;
