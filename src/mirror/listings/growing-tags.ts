import { isTag } from '../../oci/reference.ts';
import type { PageOfTags } from '../ports/upstream.ts';
import type { TagPage, WantedPage } from './tag-names.ts';

/** The first tags of a list that is still being fetched, as long as its pages are in lexical order. */
export class GrowingTags {
  #names: string[] = [];
  #hasNext = true;
  #isSorted = true;

  /** Whether all tags so far were in lexical order: the rest of the list is then assumed to be. */
  get isSorted(): boolean {
    return this.#isSorted;
  }

  add({ tags, isFirst, hasNext }: PageOfTags): void {
    if (isFirst) [this.#names, this.#isSorted] = [[], true];
    this.#hasNext = hasNext;
    for (const tag of tags) if (this.#isSorted && isTag(tag)) this.#append(tag);
  }

  /** The page that the whole list will have for `wanted`. @returns undefined when it is not known yet. */
  page({ last, limit }: WantedPage): TagPage | undefined {
    const start = last === undefined ? 0 : behind(this.#names, last);
    const end = start + limit;
    const hasMore = end < this.#names.length || this.#hasNext;
    if (!this.#isSorted || this.#names.length === 0 || end > this.#names.length || !hasMore) return undefined;
    return { tags: this.#names.slice(start, end), hasMore };
  }

  #append(tag: string): void {
    const before = this.#names.at(-1);
    // Some registries include `last` in the next page: then that tag arrives twice.
    if (tag === before) return;
    if (before === undefined || before < tag) this.#names.push(tag);
    else [this.#names, this.#isSorted] = [[], false];
  }
}

/** The index of the first name greater than `last`, by binary search. */
function behind(names: readonly string[], last: string): number {
  let [low, high] = [0, names.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((names[middle] ?? '') > last) high = middle;
    else low = middle + 1;
  }
  return low;
}
