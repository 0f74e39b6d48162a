import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { type RepositoryId, repositoryKey, repositoryNamed } from '../../../mirror/ports/repository-id.ts';
import type {
  FoundPage,
  ListedRepository,
  ListedTag,
  ListOrder,
  ListPosition,
  ListQuery,
  TagListQuery,
} from '../../../mirror/ports/store-index.ts';
import { parseDigest } from '../../../oci/digest.ts';
import { isMediaType } from '../../../oci/media-types.ts';
import { parseTag } from '../../../oci/reference.ts';
import { afterAllOf, compared, pageOfTags, positionOfRepository, type Step, walk, windowOf } from '../../list-walk.ts';
import { numberIn, type Row, textIn } from '../rows.ts';
import type { TimedQueriesDeps } from '../view-reader.ts';
import { type Condition, isAboutImages, repositoryConditions, tagConditions } from './conditions.ts';

/** Rows that are looked at together. */
const rowsPerStep = 1_000;
/** A page of repositories ends after so much time, even if it is not full. */
const mostMs = 30;
const countTags = 'SELECT count(*) AS tags FROM (SELECT 1 FROM tags WHERE repository = ? LIMIT ?)';
const mostCounted = 10_000;

/** One way through the rows of a list. */
interface Route<Item> {
  readonly rows: string;
  /** The same rows, but only the place of each in the list. */
  readonly places: string;
  /** The columns of its order, and what a position has for them. */
  readonly columns: readonly string[];
  readonly valuesAt: (position: ListPosition) => readonly (string | number)[];
  /** Columns by which rows of the same place are told apart, if there may be several. */
  readonly within: readonly string[];
  readonly placeIn: (row: Row) => ListPosition;
  readonly itemIn: (row: Row, image: Row) => Item;
  /** Whether an item has an image. */
  readonly hasImage: boolean;
}

/** Only what is listed is looked up by its digest: digests are all over the file. */
const imageOfTag = 'SELECT is_stored, media_type, platforms, bytes, first_at, used_at FROM images WHERE digest = ?';

/** Lists of the index's file. They read in steps, and other requests get their turn between them. */
export class CatalogueReader {
  readonly #database: DatabaseSync;
  readonly #deps: TimedQueriesDeps;

  constructor({ database, ...deps }: TimedQueriesDeps & { readonly database: DatabaseSync }) {
    this.#database = database;
    this.#deps = deps;
  }

  async repositories(query: ListQuery): Promise<FoundPage<ListedRepository>> {
    const { order, limit } = query;
    const window = windowOf(query, 'repositories');
    if (!window) return { items: [], next: undefined };
    const step = this.#step(repositoriesBy(order), order, { to: window.to, conditions: repositoryConditions(query) });
    const positionOf = (item: ListedRepository) => positionOfRepository(item, order);
    return walk(window.from, step, { limit, mostMs, positionOf, clock: this.#deps.clock });
  }

  tags(query: TagListQuery): Promise<FoundPage<ListedTag>> {
    const conditions = tagConditions(query);
    return pageOfTags(query, {
      clock: this.#deps.clock,
      pageWithinMs: 15,
      gatheredWithinMs: 20,
      answeredWithinMs: 35,
      step: (order, to) =>
        this.#step(order.by === 'name' ? tagsByName(query) : tagsBy(order), order, { to, conditions }),
      count: (repositoryId) => this.#countTags(repositoryId),
    });
  }

  #countTags(repositoryId: RepositoryId): number {
    const found = this.#database.prepare(countTags).get(repositoryKey(repositoryId), mostCounted);
    return numberIn(found ?? {}, 'tags');
  }

  #step<Item>(
    route: Route<Item>,
    order: ListOrder,
    { to: end, conditions }: { readonly to: ListPosition | undefined; readonly conditions: readonly Condition[] },
  ): Step<Item> {
    const prepared = new Map<string, StatementSync>();
    const prepare = (sql: string) => prepared.getOrInsertComputed(sql, () => this.#database.prepare(sql));
    const { observer, clock } = this.#deps;
    return async (from, wanted) => {
      const startedAtMs = clock.monotonicMs();
      const boundary = boundaryOf(route, order, from, prepare);
      const isLast = boundary === undefined || (end !== undefined && compared(boundary, end, order) >= 0);
      const to = isLast ? end : boundary;
      const query = rowsBetween(route, order, { from, to, conditions });
      const found = prepare(query.sql).all(...query.values, wanted);
      const imageOf = (row: Row) => (route.hasImage ? prepare(imageOfTag).get(textIn(row, 'digest')) : undefined);
      const items = found.map((row) => route.itemIn(row, imageOf(row) ?? {}));
      observer.indexAnswered({ operation: 'list', durationMs: clock.monotonicMs() - startedAtMs });
      return { items, to: isLast ? undefined : boundary };
    };
  }
}

/** Where a step ends; undefined if the list ends before. */
function boundaryOf<Item>(
  { columns, valuesAt, places, placeIn }: Route<Item>,
  order: ListOrder,
  from: ListPosition | undefined,
  prepare: (sql: string) => StatementSync,
): ListPosition | undefined {
  const { sql, values } = from ? beyond(columns, from, valuesAt, order) : { sql: 'TRUE', values: [] };
  const { by } = orderOf(columns, order);
  const row = prepare(`${places} AND ${sql} ORDER BY ${by} LIMIT 1 OFFSET ${rowsPerStep - 1}`).get(...values);
  return row && placeIn(row);
}

function orderOf(columns: readonly string[], { isDescending }: ListOrder) {
  return {
    after: isDescending ? '<' : '>',
    before: isDescending ? '>' : '<',
    by: columns.map((column) => `${column} ${isDescending ? 'DESC' : 'ASC'}`).join(', '),
  };
}

function beyond(
  columns: readonly string[],
  position: ListPosition,
  valuesAt: Route<unknown>['valuesAt'],
  order: ListOrder,
  isIncluded = false,
): Condition {
  const marks = columns.map(() => '?').join(', ');
  const { after } = orderOf(columns, order);
  return { sql: `(${columns.join(', ')}) ${after}${isIncluded ? '=' : ''} (${marks})`, values: valuesAt(position) };
}

/** The query for the rows after one position up to another. Where several rows have one place, the first may have been read in part. */
function rowsBetween<Item>(
  { rows, columns, within, valuesAt }: Route<Item>,
  order: ListOrder,
  {
    from,
    to,
    conditions,
  }: {
    readonly from: ListPosition | undefined;
    readonly to: ListPosition | undefined;
    readonly conditions: readonly Condition[];
  },
): Condition {
  const hasSeveral = within.length > 0;
  const rest: Condition[] = [];
  if (from && hasSeveral) {
    const begun = beyond(columns, from, valuesAt, order);
    const left = beyond(within, from, namesAt, order);
    rest.push({ sql: `(${begun.sql} OR ${left.sql})`, values: [...begun.values, ...left.values] });
  }
  if (from) rest.push(beyond(columns, from, valuesAt, order, hasSeveral));
  if (to) rest.push(beyond(columns, to, valuesAt, { ...order, isDescending: !order.isDescending }, true));
  const all = [...rest, ...conditions];
  const { by } = orderOf([...columns, ...within], order);
  const where = all.map(({ sql }) => `AND ${sql}`).join(' ');
  return { sql: `${rows} ${where} ORDER BY ${by} LIMIT ?`, values: all.flatMap(({ values }) => values) };
}

const namesAt = ({ name, tag = '' }: ListPosition): readonly string[] => [name, tag];

function repositoriesBy({ by }: ListOrder): Route<ListedRepository> {
  const index = { name: '', lastPull: 'INDEXED BY repositories_by_use', size: 'INDEXED BY repositories_by_size' }[by];
  const value = { name: undefined, lastPull: 'used_at', size: 'bytes' }[by];
  return {
    rows: `SELECT name, used_at, bytes, tags FROM repositories ${index} WHERE TRUE`,
    places: `SELECT name, ${value ?? 0} AS value FROM repositories ${index} WHERE TRUE`,
    columns: [...(value === undefined ? [] : [value]), 'name'],
    valuesAt: (position) => [...(value === undefined ? [] : [position.value]), position.name],
    within: [],
    placeIn: (row) => ({ value: numberIn(row, 'value'), name: textIn(row, 'name') }),
    itemIn: (row) => ({
      repositoryId: repositoryNamed(textIn(row, 'name')),
      tags: numberIn(row, 'tags'),
      bytes: numberIn(row, 'bytes'),
      lastPullMs: numberIn(row, 'used_at'),
    }),
    hasImage: false,
  };
}

function tagsByName(query: TagListQuery): Route<ListedTag> {
  const images = isAboutImages(query) ? 'CROSS JOIN images USING (digest)' : '';
  return {
    rows: `SELECT tags.repository, tag, digest FROM tags ${images} WHERE TRUE`,
    places: 'SELECT repository, tag FROM tags WHERE TRUE',
    columns: ['repository', 'tag'],
    valuesAt: namesAt,
    within: [],
    placeIn: (row) => ({ value: 0, name: textIn(row, 'repository'), tag: textIn(row, 'tag') }),
    itemIn: tagIn,
    hasImage: true,
  };
}

/** What filters ask of images is read from the index alone. */
function tagsBy(order: ListOrder): Route<ListedTag> {
  const [index, value] =
    order.by === 'size' ? (['images_by_size', 'bytes'] as const) : (['images_by_use', 'used_at'] as const);
  return {
    rows: `SELECT digest, repository, tag FROM images INDEXED BY ${index}
      CROSS JOIN tags INDEXED BY tagged USING (digest) WHERE tags > 0`,
    places: `SELECT digest, ${value} AS value FROM images INDEXED BY ${index} WHERE tags > 0`,
    columns: [value, 'digest'],
    valuesAt: (position) => [position.value, position.digest ?? ''],
    within: ['repository', 'tag'],
    placeIn: (row) => afterAllOf({ value: numberIn(row, 'value'), digest: parseDigest(textIn(row, 'digest')) }, order),
    itemIn: tagIn,
    hasImage: true,
  };
}

function tagIn(row: Row, image: Row): ListedTag {
  const mediaType = image['media_type'];
  return {
    repositoryId: repositoryNamed(textIn(row, 'repository')),
    tag: parseTag(textIn(row, 'tag')),
    digest: parseDigest(textIn(row, 'digest')),
    isStored: numberIn(image, 'is_stored') === 1,
    mediaType: isMediaType(mediaType) ? mediaType : undefined,
    platforms: textIn(image, 'platforms')
      .split(',')
      .filter((platform) => platform !== ''),
    bytes: numberIn(image, 'bytes'),
    firstPullMs: numberIn(image, 'first_at'),
    lastPullMs: numberIn(image, 'used_at'),
  };
}
