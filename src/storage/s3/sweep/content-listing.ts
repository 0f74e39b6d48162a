import type { Waiting } from '../../../mirror/ports/waiting.ts';
import type { Digest } from '../../../oci/digest.ts';
import type { BucketObjects, ListedObject } from '../access/objects.ts';
import type { BucketLayout, ContentPrefix } from '../bucket-layout.ts';
import { merged } from '../../../mirror/concurrency/parallel.ts';

export interface ContentListingDeps {
  readonly objects: Pick<BucketObjects, 'list' | 'page'>;
  readonly layout: BucketLayout;
}

/** Content as the bucket lists it. */
export interface ListedContent {
  readonly digest: Digest;
  readonly size: number;
  readonly modifiedAtMs: number;
}

type Pages = AsyncIterable<readonly ListedObject[], undefined>;

/** Prefixes that are listed at the same time: so many pages are in memory, and as many of their last uses. */
const listedTogether = 16;

/**
 * The content of a bucket with the time of its last use: that of its upload, unless it was read from the bucket since. A small bucket takes a few
 * calls. A large one is listed by many prefixes at the same time, since within one each page has to wait for the page before.
 */
export async function* listContent(deps: ContentListingDeps, waiting: Waiting): AsyncGenerator<ListedContent> {
  const { objects, layout } = deps;
  for (const folder of layout.contentFolders()) {
    const [content, used] = await Promise.all([
      objects.page(folder.whole.blobs, waiting),
      objects.page(folder.whole.used, waiting),
    ]);
    const isSmall = content.next === undefined;
    const pagesOf = ({ blobs, used: uses }: ContentPrefix) => ({
      content: isSmall ? onePage(content.objects) : objects.list(blobs, waiting),
      // Where little was read, its list is whole: it is not asked for again with each prefix.
      used:
        used.next === undefined
          ? onePage(used.objects.filter(({ key }) => key.startsWith(uses)))
          : objects.list(uses, waiting),
    });
    const prefixes = isSmall ? [folder.whole] : folder.parts;
    const joined = prefixes.map((prefix) => withLastUses(prefix, pagesOf(prefix), layout));
    for await (const page of merged(joined, listedTogether)) yield* page;
  }
}

/** Both lists are in the order of their keys, and so is the digest within them: they are read side by side. */
async function* withLastUses(
  prefix: ContentPrefix,
  { content, used }: { readonly content: Pages; readonly used: Pages },
  layout: BucketLayout,
): AsyncGenerator<readonly ListedContent[]> {
  await using uses = new Uses(used, prefix.used);
  for await (const page of content) {
    const listed: ListedContent[] = [];
    for (const { key, size, modifiedAtMs } of page) {
      const digest = layout.digestAt(key);
      const usedAtMs = await uses.timeOf(key.slice(prefix.blobs.length));
      if (digest) listed.push({ digest, size, modifiedAtMs: Math.max(modifiedAtMs, usedAtMs) });
    }
    yield listed;
  }
}

/** The times of last uses, by names that are asked for in order. */
class Uses implements AsyncDisposable {
  readonly #pages: AsyncIterator<readonly ListedObject[], undefined>;
  readonly #prefix: string;
  #page: readonly ListedObject[] = [];
  #at = 0;

  constructor(pages: Pages, prefix: string) {
    this.#pages = pages[Symbol.asyncIterator]();
    this.#prefix = prefix;
  }

  /** 0 if it was never used. */
  async timeOf(name: string): Promise<number> {
    for (;;) {
      const next = this.#page[this.#at];
      if (next === undefined) {
        if (!(await this.#turn())) return 0;
        continue;
      }
      const found = next.key.slice(this.#prefix.length);
      if (found > name) return 0;
      if (found === name) return next.modifiedAtMs;
      this.#at += 1;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pages.return?.();
  }

  async #turn(): Promise<boolean> {
    const { value: page } = await this.#pages.next();
    if (page === undefined) return false;
    this.#page = page;
    this.#at = 0;
    return true;
  }
}

async function* onePage(objects: readonly ListedObject[]): AsyncGenerator<readonly ListedObject[], undefined> {
  yield objects;
}
