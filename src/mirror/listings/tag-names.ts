import { setImmediate as nextTurn } from 'node:timers/promises';
import { isTag, type Tag } from '../../oci/reference.ts';

declare const sortedNames: unique symbol;
/**
 * Unique tags in lexical order, separated by spaces, which no tag contains. One flat string is read, stored and searched without an object
 * for each tag of a long list.
 */
export type TagNames = string & { readonly [sortedNames]: 'TagNames' };

export interface TagPage {
  readonly tags: readonly string[];
  /** Whether more follow. */
  readonly hasMore: boolean;
}

/** The page that a client wants: at most `limit` tags after `last`. */
export interface WantedPage {
  readonly last: string | undefined;
  readonly limit: number;
}

/** Names sorted in one turn of the event loop. */
const namesPerTurn = 5_000;

/** Sorts names, and drops invalid tags, which no client could pull. Yields to the event loop. */
export async function tagNamesOf(names: readonly string[]): Promise<TagNames> {
  let runs: string[][] = [];
  for (let from = 0; from < names.length; from += namesPerTurn) {
    runs.push([...new Set(names.slice(from, from + namesPerTurn).filter(isTag))].sort());
    await nextTurn();
  }
  while (runs.length > 1) {
    const merged: string[][] = [];
    for (let at = 0; at < runs.length; at += 2) merged.push(await mergedRun(runs[at] ?? [], runs[at + 1] ?? []));
    runs = merged;
  }
  return asTagNames(await joined(runs[0] ?? []));
}

export const noTagNames = asTagNames('');

/** @param name a tag that is greater than all of `names`. */
export function withNext(names: TagNames, name: Tag): TagNames {
  return asTagNames(names === '' ? name : `${names} ${name}`);
}

/** @returns undefined when the value is no text. */
export function parseTagNames(text: unknown): TagNames | undefined {
  return typeof text === 'string' ? asTagNames(text) : undefined;
}

/** At most `limit` names after `last`. The cost depends on the page, not on the length of the list. */
export function tagPage(names: TagNames, { last, limit }: WantedPage): TagPage {
  const start = last === undefined ? 0 : startBehind(names, last);
  let end = start - 1;
  for (let count = 0; count < limit && end < names.length; count += 1) end = endOfName(names, end + 1);
  const tags = end > start ? names.slice(start, end).split(' ') : [];
  return { tags, hasMore: Math.max(end, start) < names.length };
}

/** Merges two sorted runs, each name once. */
async function mergedRun(one: readonly string[], other: readonly string[]): Promise<string[]> {
  const merged: string[] = [];
  for (let a = 0, b = 0; a < one.length || b < other.length; ) {
    const [left, right] = [one[a], other[b]];
    const isLeft = right === undefined || (left !== undefined && left <= right);
    const next = isLeft ? left : right;
    if (isLeft) a += 1;
    else b += 1;
    if (next !== undefined && next !== merged.at(-1)) merged.push(next);
    if ((a + b) % namesPerTurn === 0) await nextTurn();
  }
  return merged;
}

async function joined(names: readonly string[]): Promise<string> {
  const pieces: string[] = [];
  for (let from = 0; from < names.length; from += namesPerTurn) {
    pieces.push(names.slice(from, from + namesPerTurn).join(' '));
    await nextTurn();
  }
  return pieces.join(' ');
}

/** The position where the first name greater than `last` begins, by binary search. */
function startBehind(names: string, last: string): number {
  let [low, high] = [0, names.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const start = names.lastIndexOf(' ', middle - 1) + 1;
    const end = endOfName(names, middle);
    if (names.slice(start, end) > last) high = start;
    else low = end + 1;
  }
  return Math.min(low, names.length);
}

function endOfName(names: string, from: number): number {
  const space = names.indexOf(' ', from);
  return space === -1 ? names.length : space;
}

function asTagNames(text: string): TagNames {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- made here only, of sorted names
  return text as TagNames;
}
