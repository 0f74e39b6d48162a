import { repositoryKey } from '../../../mirror/ports/repository-id.ts';
import type { ListQuery, TagListQuery } from '../../../mirror/ports/store-index.ts';

/** A part of a query, and the values of its parameters. */
export interface Condition {
  readonly sql: string;
  readonly values: readonly (string | number)[];
}

/** What a row of `repositories` must meet to be in a list. */
export function repositoryConditions({ filter }: ListQuery): readonly Condition[] {
  const { text, platform } = filter;
  return [
    ...inRegistry('name', filter.registry),
    ...amounts(filter),
    ...(text === undefined ? [] : [hasText('name', text)]),
    ...(platform === undefined ? [] : [hasPlatform(platform)]),
    {
      sql: 'EXISTS (SELECT 1 FROM links INDEXED BY held CROSS JOIN content USING (digest) WHERE repository = name)',
      values: [],
    },
  ];
}

/** What a row of `tags` and `images` must meet. */
export function tagConditions({ filter, repositoryId }: TagListQuery): readonly Condition[] {
  const { text, platform } = filter;
  return [
    ...(repositoryId ? [{ sql: '+tags.repository = ?', values: [repositoryKey(repositoryId)] }] : []),
    ...inRegistry('+tags.repository', filter.registry),
    ...amounts(filter),
    ...(text === undefined ? [] : [hasText("tags.repository || ':' || tag", text)]),
    ...(platform === undefined ? [] : [isForPlatform(platform)]),
  ];
}

/** Whether something of `images` decides what is in the list. */
export function isAboutImages({ filter }: TagListQuery): boolean {
  return filter.platform !== undefined || amounts(filter).length > 0;
}

function inRegistry(column: string, registry: string | undefined): readonly Condition[] {
  return registry === undefined
    ? []
    : [{ sql: `${column} >= ? AND ${column} < ?`, values: [`${registry}/`, `${registry}0`] }];
}

/** A `+` keeps SQLite from using an index for it: the rows are gone through in the order of the list. */
function amounts({ pulledSinceMs, pulledBeforeMs, minBytes, maxBytes }: ListQuery['filter']): readonly Condition[] {
  const bounds: readonly (readonly [string, number | undefined])[] = [
    ['+used_at >= ?', pulledSinceMs],
    ['+used_at < ?', pulledBeforeMs],
    ['+bytes >= ?', minBytes],
    ['+bytes <= ?', maxBytes],
  ];
  return bounds.flatMap(([sql, value]) => (value === undefined ? [] : [{ sql, values: [value] }]));
}

/** LIKE does not tell upper from lower case. */
function hasText(name: string, text: string): Condition {
  return { sql: `${name} LIKE ? ESCAPE '\\'`, values: [`%${text.replaceAll(/[\\%_]/g, '\\$&')}%`] };
}

/** `images.platforms` is such as `,linux/amd64,linux/arm64/v8,`. */
function isForPlatform(platform: string): Condition {
  return { sql: '(instr(platforms, ?) > 0 OR instr(platforms, ?) > 0)', values: [`,${platform},`, `,${platform}/`] };
}

/** Most repositories never had an image for a rare platform: only the others are looked at. `0` is the character after `/`. */
function hasPlatform(platform: string): Condition {
  const stored = isForPlatform(platform);
  return {
    sql: `CASE WHEN NOT EXISTS (
        SELECT 1 FROM repository_platforms WHERE repository = name AND platform >= ? AND platform < ? AND (platform = ? OR platform > ?)
      ) THEN FALSE ELSE EXISTS (SELECT 1 FROM links INDEXED BY held CROSS JOIN images USING (digest)
        WHERE repository = name AND kind = 'manifest' AND is_stored = 1 AND ${stored.sql}) END`,
    values: [platform, `${platform}0`, platform, `${platform}/`, ...stored.values],
  };
}
