import { setImmediate as nextTurn } from 'node:timers/promises';
import { repositoryKey } from '../mirror/ports/repository-id.ts';
import type {
  FoundPage,
  ListedRepository,
  ListedTag,
  ListOrder,
  ListPosition,
  TagListQuery,
} from '../mirror/ports/store-index.ts';
import { parseDigest } from '../oci/digest.ts';

// How pages of lists are found: in steps of a bounded number of items, in the order of the list. Other requests get their turn between steps.

/** Greater than every name, tag and digest. */
const last = '~';
const smallestDigest = parseDigest(`sha256:${'0'.repeat(64)}`);
const greatestDigest = parseDigest(`sha512:${'f'.repeat(128)}`);

/** The part of a list that may have matching items: after `from`, up to `to`. Undefined: from its beginning, to its end. */
export interface ListWindow {
  readonly from: ListPosition | undefined;
  readonly to: ListPosition | undefined;
}

/** @returns undefined if no item can match. Pure. */
export function windowOf(query: TagListQuery, items: 'repositories' | 'tags'): ListWindow | undefined {
  const { order, after } = query;
  const { first, end } = order.by === 'name' ? namesIn(query) : valuesIn(query, items === 'tags');
  const [begin, to] = order.isDescending ? [end, first] : [first, end];
  const from = after && (!begin || compared(after, begin, order) > 0) ? after : begin;
  return from && to && compared(from, to, order) >= 0 ? undefined : { from, to };
}

interface Range {
  readonly first: ListPosition | undefined;
  readonly end: ListPosition | undefined;
}

/** `0` is the character after `/`. */
function namesIn({ filter: { registry }, repositoryId }: TagListQuery): Range {
  const range = (name: string, end: string, tag: string): Range => ({
    first: { value: 0, name, tag: '' },
    end: { value: 0, name: end, tag },
  });
  if (repositoryId) return range(repositoryKey(repositoryId), repositoryKey(repositoryId), last);
  return registry === undefined ? { first: undefined, end: undefined } : range(`${registry}/`, `${registry}0`, '');
}

function valuesIn({ filter, order }: TagListQuery, haveDigests: boolean): Range {
  const { pulledSinceMs, pulledBeforeMs, minBytes, maxBytes } = filter;
  const isByUse = order.by === 'lastPull';
  const least = isByUse ? pulledSinceMs : minBytes;
  const most = isByUse ? pulledBeforeMs && pulledBeforeMs - 1 : maxBytes;
  const [smallest, greatest] = haveDigests ? [smallestDigest, greatestDigest] : [];
  return {
    first: least === undefined ? undefined : { value: least, digest: smallest, name: '', tag: '' },
    end: most === undefined ? undefined : { value: most, digest: greatest, name: last, tag: last },
  };
}

/** The position after all tags of a digest. Pure. */
export function afterAllOf(place: Pick<ListPosition, 'value' | 'digest'>, { isDescending }: ListOrder): ListPosition {
  return { ...place, name: isDescending ? '' : last, tag: isDescending ? '' : last };
}

/** Above 0 if `one` comes after `other`. Pure. */
export function compared(one: ListPosition, other: ListPosition, { isDescending }: ListOrder): number {
  const turn =
    one.value - other.value ||
    textsCompared(one.digest, other.digest) ||
    textsCompared(one.name, other.name) ||
    textsCompared(one.tag, other.tag);
  return isDescending ? -turn : turn;
}

function textsCompared(one = '', other = ''): number {
  return one < other ? -1 : Number(one > other);
}

export function positionOfRepository(found: ListedRepository, { by }: ListOrder): ListPosition {
  return { value: valueOf(found, by), name: repositoryKey(found.repositoryId) };
}

export function positionOfTag(found: ListedTag, { by }: ListOrder): ListPosition {
  const { repositoryId, tag, digest } = found;
  const value = valueOf(found, by);
  return { value, ...(by !== 'name' && { digest }), name: repositoryKey(repositoryId), tag };
}

function valueOf({ lastPullMs, bytes }: Pick<ListedTag, 'lastPullMs' | 'bytes'>, by: ListOrder['by']): number {
  return { name: 0, lastPull: lastPullMs, size: bytes }[by];
}

/** Looks at some items after `from`. */
export type Step<Item> = (
  from: ListPosition | undefined,
  wanted: number,
) => Promise<{
  /** At most `wanted`. */
  readonly items: readonly Item[];
  /** Where it stopped looking; undefined at the end of the list. Any position if it found as many as wanted. */
  readonly to: ListPosition | undefined;
}>;

export interface WalkOptions {
  readonly from: ListPosition | undefined;
  readonly limit: number;
  /** After so many steps a page ends, even if it is not full. */
  readonly mostSteps: number;
}

/** One page of a list. */
export async function walk<Item>(
  { from, limit, mostSteps }: WalkOptions,
  step: Step<Item>,
  positionOf: (item: Item) => ListPosition,
): Promise<FoundPage<Item>> {
  const items: Item[] = [];
  let after = from;
  for (let steps = 1; ; steps += 1) {
    const found = await step(after, limit + 1 - items.length);
    items.push(...found.items);
    const lastItem = items[limit - 1];
    if (items.length > limit && lastItem) return { items: items.slice(0, limit), next: positionOf(lastItem) };
    if (found.to === undefined) return { items, next: undefined };
    if (items.length === limit || steps === mostSteps) return { items, next: found.to };
    after = found.to;
    await nextTurn();
  }
}

/** So many items more than a page are kept while a list is sorted. */
const kept = 2_000;

/** One page of the tags of a repository in another order than that of their names: all are looked at, a few are kept. */
export async function sorted(
  { order, after, limit }: Pick<TagListQuery, 'order' | 'after' | 'limit'>,
  begin: ListPosition | undefined,
  step: Step<ListedTag>,
): Promise<FoundPage<ListedTag>> {
  const position = (item: ListedTag) => positionOfTag(item, order);
  const firstOf = (items: readonly ListedTag[]) =>
    items.toSorted((one, other) => compared(position(one), position(other), order)).slice(0, limit + 1);
  let items: readonly ListedTag[] = [];
  for (let from = begin; ; ) {
    const found = await step(from, kept);
    items = [...items, ...found.items.filter((item) => !after || compared(position(item), after, order) > 0)];
    if (items.length > limit + kept) items = firstOf(items);
    const lastItem = found.items.at(-1);
    const isFull = found.items.length === kept;
    from = isFull && lastItem ? { value: 0, name: repositoryKey(lastItem.repositoryId), tag: lastItem.tag } : found.to;
    if (from === undefined) break;
    await nextTurn();
  }
  const page = firstOf(items);
  const lastItem = page[limit - 1];
  return { items: page.slice(0, limit), next: page.length > limit && lastItem ? position(lastItem) : undefined };
}

/** A repository with more tags is looked for in the order of all tags: it has many of them. */
const fewTags = 5_000;

/** The tags of a repository are sorted, unless there are so many that those of all repositories are gone through faster. */
export function isSortedAlone({ order, repositoryId }: TagListQuery, tags: number): boolean {
  return order.by !== 'name' && repositoryId !== undefined && tags <= fewTags;
}
