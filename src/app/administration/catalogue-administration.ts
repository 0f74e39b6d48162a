import {
  type AskedList,
  type CatalogueAdministration,
  cursorAfter,
  type Repositories,
  type Tags,
} from '../../http/management/api/catalogue-routes.ts';
import { isoOf, repositoryIn } from '../../http/management/api/schemas.ts';
import { Problem } from '../../http/management/problems.ts';
import type { TagConfirmation } from '../../mirror/mirror-parts.ts';
import { type RepositoryId, repositoryKey } from '../../mirror/ports/repository-id.ts';
import type {
  Catalogue,
  CatalogueLists,
  FoundPage,
  ListedRepository,
  ListedTag,
  ListOrder,
  TagOfRepository,
} from '../../mirror/ports/store-index.ts';

export interface CachedCatalogueDeps {
  readonly index: CatalogueLists & Pick<Catalogue, 'isNeeded'>;
  /** Undefined where it is not known. */
  readonly confirmationOf: (tag: TagOfRepository) => TagConfirmation | undefined;
}

/** The lists of what is cached, as the management API answers them. */
export class CachedCatalogue implements CatalogueAdministration {
  readonly #deps: CachedCatalogueDeps;

  constructor(deps: CachedCatalogueDeps) {
    this.#deps = deps;
  }

  async repositories(asked: AskedList): Promise<Repositories> {
    const found = readable(await this.#deps.index.listRepositories(asked));
    return { ...pageOf(found, asked.order), items: found.items.map(listedRepository) };
  }

  async tags(asked: AskedList, repositoryId?: RepositoryId): Promise<Tags> {
    const found = readable(await this.#deps.index.listTags({ ...asked, repositoryId }));
    if (repositoryId && found.items.length === 0 && !(await this.#isCached(repositoryId)))
      throw new Problem('not-found', `nothing of ${repositoryKey(repositoryId)} is cached`);
    return {
      ...pageOf(found, asked.order),
      items: found.items.map((item) => tagIn(item, this.#deps.confirmationOf(item))),
    };
  }

  #isCached(repositoryId: RepositoryId): Promise<boolean> {
    return this.#deps.index.isNeeded({ kind: 'tag-list', repositoryId });
  }
}

/** @throws Problem when the index could not answer. */
function readable<Found>(found: Found | undefined): Found {
  if (found === undefined) throw new Problem('unavailable', 'the index cannot be read now');
  return found;
}

function pageOf({ next }: FoundPage<unknown>, order: ListOrder): { readonly nextCursor?: string } {
  return next === undefined ? {} : { nextCursor: cursorAfter(next, order) };
}

function listedRepository({ repositoryId, tags, bytes, lastPullMs }: ListedRepository): Repositories['items'][number] {
  return { ...repositoryIn(repositoryId), tags, bytes, ...(lastPullMs > 0 && { lastPullAt: isoOf(lastPullMs) }) };
}

function tagIn(found: ListedTag, confirmation: TagConfirmation | undefined): Tags['items'][number] {
  const { repositoryId, tag, digest, isStored, mediaType, platforms, bytes, firstPullMs, lastPullMs } = found;
  return {
    ...repositoryIn(repositoryId),
    tag,
    digest,
    isStored,
    ...(mediaType !== undefined && { mediaType }),
    platforms: [...platforms],
    ...(bytes > 0 && { bytes }),
    ...(firstPullMs > 0 && { firstPullAt: isoOf(firstPullMs) }),
    ...(lastPullMs > 0 && { lastPullAt: isoOf(lastPullMs) }),
    ...(confirmation?.digest === digest && confirmedIn(confirmation)),
  };
}

function confirmedIn({ confirmedAtMs, isFresh }: TagConfirmation) {
  return { confirmedAt: isoOf(confirmedAtMs), isFresh };
}
