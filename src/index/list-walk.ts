import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock } from '../mirror/ports/clock.ts';
import { type RepositoryId, repositoryKey } from '../mirror/ports/repository-id.ts';
import type {
  FoundPage,
  ListedRepository,
  ListedTag,
  ListOrder,
  ListPosition,
  ListQuery,
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

function positionOfTag(found: ListedTag, { by }: ListOrder): ListPosition {
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
  /** Where it stopped looking; undefined at the end of the list. Means nothing if it found as many as wanted. */
  readonly to: ListPosition | undefined;
}>;

export interface WalkOptions {
  readonly limit: number;
  /** After so much time a page ends, even if it is not full. */
  readonly mostMs: number;
  /** Likewise after so many steps. By default there is no bound. */
  readonly mostSteps?: number;
  readonly clock: Pick<Clock, 'monotonicMs'>;
}

/** Items that one step may find: each is looked up, and meanwhile no other request has its turn. */
const foundAtOnce = 500;

/** One page of a list, in the order in which `step` finds the items. */
export async function walk<Item>(
  from: ListPosition | undefined,
  step: Step<Item>,
  {
    limit,
    mostMs,
    mostSteps = Infinity,
    clock,
    positionOf,
  }: WalkOptions & { readonly positionOf: (item: Item) => ListPosition },
): Promise<FoundPage<Item>> {
  const endsAtMs = clock.monotonicMs() + mostMs;
  const items: Item[] = [];
  for (let after = from, steps = 1; ; steps += 1) {
    const wanted = Math.min(limit + 1 - items.length, foundAtOnce);
    const found = await step(after, wanted);
    items.push(...found.items);
    const lastItem = items[limit - 1];
    if (items.length > limit && lastItem) return { items: items.slice(0, limit), next: positionOf(lastItem) };
    after = stoppedAt(found, wanted, positionOf);
    if (after === undefined) return { items, next: undefined };
    const isOver = steps === mostSteps || clock.monotonicMs() >= endsAtMs;
    if (items.length === limit || isOver) return { items, next: after };
    await nextTurn();
  }
}

function stoppedAt<Item>(
  { items, to }: Awaited<ReturnType<Step<Item>>>,
  wanted: number,
  positionOf: (item: Item) => ListPosition,
): ListPosition | undefined {
  const lastItem = items.at(-1);
  return items.length === wanted && lastItem ? positionOf(lastItem) : to;
}

/** Items that are kept while a page is gathered, beyond those of the page. */
const kept = 2_000;

export interface GatherOptions extends WalkOptions, Pick<ListQuery, 'order' | 'after'> {
  /** If more items match, they are not gathered. */
  readonly mostItems: number;
}

/**
 * One page of tags that are found in another order: all that match are looked at, and sorted.
 * @returns undefined if they are too many, or it takes too long.
 */
export async function gather(
  from: ListPosition | undefined,
  { step, order: found }: OtherWay,
  { order, after, limit, mostItems, mostMs, clock }: GatherOptions,
): Promise<FoundPage<ListedTag> | undefined> {
  const endsAtMs = clock.monotonicMs() + mostMs;
  const placeOf = (item: ListedTag) => positionOfTag(item, order);
  const firstOf = (items: readonly ListedTag[]) =>
    items.toSorted((one, other) => compared(placeOf(one), placeOf(other), order)).slice(0, limit + 1);
  let items: readonly ListedTag[] = [];
  let matching = 0;
  for (let begin = from; ; ) {
    const looked = await step(begin, foundAtOnce);
    const more = looked.items;
    matching += more.length;
    items = [...items, ...more.filter((item) => !after || compared(placeOf(item), after, order) > 0)];
    if (items.length > limit + kept) items = firstOf(items);
    begin = stoppedAt(looked, foundAtOnce, (item) => positionOfTag(item, found));
    if (begin === undefined) break;
    if (matching > mostItems || clock.monotonicMs() >= endsAtMs) return undefined;
    await nextTurn();
  }
  const page = firstOf(items);
  const lastItem = page[limit - 1];
  return { items: page.slice(0, limit), next: page.length > limit && lastItem ? placeOf(lastItem) : undefined };
}

/** Another order in which the tags of a list can be found, perhaps with less work. */
export interface OtherWay {
  readonly order: ListOrder;
  readonly from: ListPosition | undefined;
  readonly step: Step<ListedTag>;
}

/** What the index can do for a list of tags. */
export interface TagWays {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** Looks at tags in an order, up to a position. */
  readonly step: (order: ListOrder, to: ListPosition | undefined) => Step<ListedTag>;
  /** How long tags may be looked for in the order of the list, and how long they may be gathered in another order. */
  readonly pageWithinMs: number;
  readonly gatheredWithinMs: number;
  /** How long all of that may take. The step that is running then is finished. */
  readonly answeredWithinMs: number;
  /** How many tags a repository has. */
  readonly count: (repositoryId: RepositoryId) => number | Promise<number>;
}

/** A repository with more tags than this is looked for in the order of all tags: it has many of them. */
const fewTags = 2_500;
/** Steps in the order of the list before another way is tried. */
const triedSteps = 2;
/** Each is looked up by its digest. */
const mostGathered = 3_000;

/**
 * A page of tags. In the order of names, few filters are quick, and in the order of pulls or sizes, the others: if few tags match, they are
 * found in the other order and sorted. A page that takes longer ends before it is full. One repository with few tags is always looked through.
 */
export async function pageOfTags(query: TagListQuery, ways: TagWays): Promise<FoundPage<ListedTag>> {
  const { clock, step, count, pageWithinMs, gatheredWithinMs, answeredWithinMs } = ways;
  const endsAtMs = clock.monotonicMs() + answeredWithinMs;
  const leftMs = (mostMs: number) => Math.min(mostMs, endsAtMs - clock.monotonicMs());
  const { order, repositoryId, limit } = query;
  const window = windowOf(query, 'tags');
  if (!window) return { items: [], next: undefined };
  const otherOrder = otherOrderOf(query);
  const others = otherOrder && windowOf({ ...query, order: otherOrder, after: undefined }, 'tags');
  const other = otherOrder && others && { order: otherOrder, from: others.from, step: step(otherOrder, others.to) };
  const tags = other && repositoryId && order.by !== 'name' ? await count(repositoryId) : undefined;
  if (other && tags !== undefined && tags <= fewTags) {
    const whole = await gather(other.from, other, { ...query, clock, mostMs: Infinity, mostItems: Infinity });
    if (whole) return whole;
  }
  const native = step(order, window.to);
  const walking = { limit, clock, positionOf: (item: ListedTag) => positionOfTag(item, order) };
  const isWorthGathering = other && !(tags !== undefined && tags > mostGathered && isWithoutFilter(query));
  const trying = {
    mostMs: other && !isWorthGathering ? answeredWithinMs : pageWithinMs,
    ...(isWorthGathering && { mostSteps: triedSteps }),
  };
  const first = await walk(window.from, native, { ...walking, ...trying });
  if (!isWorthGathering || first.next === undefined || first.items.length === limit) return first;
  const gathering = { ...query, clock, mostItems: mostGathered, mostMs: leftMs(gatheredWithinMs) };
  const gathered = await gather(other.from, other, gathering);
  if (gathered) return gathered;
  const mostMs = leftMs(pageWithinMs);
  if (mostMs <= 0) return first;
  const left = limit - first.items.length;
  const rest = await walk(first.next, native, { ...walking, limit: left, mostMs });
  return { items: [...first.items, ...rest.items], next: rest.next };
}

function isWithoutFilter({ filter }: TagListQuery): boolean {
  return Object.values(filter).every((value) => value === undefined);
}

/** The order in which what the filter asks for is found by an index alone; undefined if that is the order of the list. Pure. */
function otherOrderOf({ filter, order, repositoryId }: TagListQuery): ListOrder | undefined {
  const { registry, text, platform, pulledSinceMs, pulledBeforeMs, minBytes, maxBytes } = filter;
  const isAboutNames = registry !== undefined || text !== undefined || repositoryId !== undefined;
  const isByPull = pulledSinceMs !== undefined || pulledBeforeMs !== undefined;
  if (order.by === 'name' ? repositoryId : order.by === 'lastPull' && !isAboutNames) return undefined;
  if (order.by !== 'name' && isAboutNames) return { by: 'name', isDescending: false };
  if (isByPull) return { by: 'lastPull', isDescending: false };
  if (order.by === 'size') return undefined;
  if (minBytes !== undefined || maxBytes !== undefined) return { by: 'size', isDescending: false };
  return platform === undefined ? undefined : { by: 'lastPull', isDescending: false };
}
