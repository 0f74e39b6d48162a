import { isTag } from '../../oci/reference.ts';
import type { PageOfTags } from '../ports/upstream.ts';
import type { TagPage, WantedPage } from './tag-names.ts';

/** A list of tags that is still being fetched, as far as its pages came in lexical order. */
export class GrowingTags {
  #names: string[] = [];
  #hasNext = true;
  #isSorted = true;

  /** Whether every tag so far came behind those before it: then those to come are taken to do so, too. */
  get isSorted(): boolean {
    return this.#isSorted;
  }

  add({ tags, isFirst, hasNext }: PageOfTags): void {
    if (isFirst) [this.#names, this.#isSorted] = [[], true];
    this.#hasNext = hasNext;
    for (const tag of tags) if (this.#isSorted && isTag(tag)) this.#append(tag);
  }

  /** The page a client wants, as the whole list will have it. @returns undefined where that is not known yet. */
  page({ last, limit }: WantedPage): TagPage | undefined {
    const start = last === undefined ? 0 : behind(this.#names, last);
    const end = start + limit;
    const hasMore = end < this.#names.length || this.#hasNext;
    if (!this.#isSorted || this.#names.length === 0 || end > this.#names.length || !hasMore) return undefined;
    return { tags: this.#names.slice(start, end), hasMore };
  }

  #append(tag: string): void {
    const before = this.#names.at(-1);
    // Where `last` is taken to be part of the next page, its first tag comes twice.
    if (tag === before) return;
    if (before === undefined || before < tag) this.#names.push(tag);
    else [this.#names, this.#isSorted] = [[], false];
  }
}

/** Where the first name greater than `last` is, by halving. */
function behind(names: readonly string[], last: string): number {
  let [low, high] = [0, names.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((names[middle] ?? '') > last) high = middle;
    else low = middle + 1;
  }
  return low;
}
