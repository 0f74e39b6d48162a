import { isTag, type Tag } from '../../oci/reference.ts';
import type { PageOfTags } from '../ports/upstream.ts';
import { noTagNames, type TagNames, type TagPage, tagPage, type WantedPage, withNext } from './tag-names.ts';

/** The first tags of a list that is still being fetched, while its pages are in lexical order. */
export class GrowingTags {
  #names: TagNames = noTagNames;
  #lastName = '';
  #hasNext = true;
  #isSorted = true;

  /** Whether all tags so far were in lexical order: then the rest is assumed to be too. */
  get isSorted(): boolean {
    return this.#isSorted;
  }

  add({ tags, isFirst, hasNext }: PageOfTags): void {
    if (isFirst) this.#restart({ isSorted: true });
    this.#hasNext = hasNext;
    for (const tag of tags) if (this.#isSorted && isTag(tag)) this.#append(tag);
  }

  /** The page of the whole list for `wanted`. @returns undefined while it is not known. */
  page(wanted: WantedPage): TagPage | undefined {
    if (this.#names === noTagNames) return undefined;
    const { tags, hasMore } = tagPage(this.#names, wanted);
    return tags.length === wanted.limit && (hasMore || this.#hasNext) ? { tags, hasMore: true } : undefined;
  }

  #append(tag: Tag): void {
    // Some registries repeat `last` at the start of the next page.
    if (tag === this.#lastName) return;
    if (tag < this.#lastName) return this.#restart({ isSorted: false });
    this.#names = withNext(this.#names, tag);
    this.#lastName = tag;
  }

  #restart({ isSorted }: { readonly isSorted: boolean }): void {
    this.#names = noTagNames;
    this.#lastName = '';
    this.#isSorted = isSorted;
  }
}
