import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Catalogue, IndexedTag, TagPage } from '../ports/store-index.ts';
import type { RepositoryId } from '../ports/repository-id.ts';

export interface RepositoryFilter {
  /** The name of an upstream, as clients write it. */
  readonly registry?: string | undefined;
  /** A part of the full name. */
  readonly text?: string | undefined;
}

export interface NamePage {
  /** Begins after this name. */
  readonly after: string | undefined;
  readonly limit: number;
}

export interface Listed<Item> {
  readonly items: readonly Item[];
  /** Where the next page begins; undefined if there is none. */
  readonly after: string | undefined;
}

/** Names that are looked at together; between them other requests get their turn. */
const namesAtOnce = 250;
/** After so many names a page ends, even if it is not full. */
const mostNamesLookedAt = 10_000;

/** The repositories with cached content, `<upstream>/<repository>`, in lexical order. @returns undefined if the index cannot be read now. */
export async function findRepositories(
  index: Pick<Catalogue, 'repositories'>,
  { registry, text }: RepositoryFilter,
  { after, limit }: NamePage,
): Promise<Listed<string> | undefined> {
  const beginning = registry === undefined ? '' : `${registry}/`;
  const wanted = text?.toLowerCase() ?? '';
  const items: string[] = [];
  let last = after ?? beginning;
  for (let looked = 0; looked < mostNamesLookedAt; looked += namesAtOnce) {
    const names = await index.repositories({ last, limit: namesAtOnce });
    if (names === undefined) return undefined;
    for (const name of names) {
      if (!name.startsWith(beginning)) return { items, after: undefined };
      if (!name.includes(wanted)) continue;
      if (items.length === limit) return { items, after: items.at(-1) };
      items.push(name);
    }
    if (names.length < namesAtOnce) return { items, after: undefined };
    last = names.at(-1) ?? last;
    await nextTurn();
  }
  return { items, after: last };
}

/** @returns `unknown` if the repository has no cached content and no tags; undefined if the index cannot be read now. */
export async function findTags(
  index: Pick<Catalogue, 'tags' | 'isNeeded'>,
  repositoryId: RepositoryId,
  { after, limit }: TagPage,
): Promise<Listed<IndexedTag> | 'unknown' | undefined> {
  const found = await index.tags(repositoryId, { after, limit: limit + 1 });
  if (found === undefined) return undefined;
  if (found.length === 0 && !(await index.isNeeded({ kind: 'tag-list', repositoryId }))) return 'unknown';
  const items = found.slice(0, limit);
  return { items, after: items.length < found.length ? items.at(-1)?.tag : undefined };
}
