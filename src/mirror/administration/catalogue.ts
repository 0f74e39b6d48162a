import { setImmediate as nextTurn } from 'node:timers/promises';
import { repositoryKey, repositoryNamed } from '../ports/repository-id.ts';
import type {
  Catalogue,
  CatalogueLists,
  FoundPage,
  ListedRepository,
  ListedTag,
  ListOrder,
  ListPosition,
  ListQuery,
  TagListQuery,
} from '../ports/store-index.ts';

const pageSize = 250;

/** Lists that read everything. */
export class WholeLists implements CatalogueLists {
  readonly #index: Catalogue;

  constructor({ index }: { readonly index: Catalogue }) {
    this.#index = index;
  }

  async listRepositories(query: ListQuery): Promise<FoundPage<ListedRepository> | undefined> {
    const names = await this.#names(query);
    if (names === undefined) return undefined;
    const all: ListedRepository[] = [];
    for (const name of names) {
      const repositoryId = repositoryNamed(name);
      const tags = (await this.#index.tags(repositoryId, { after: undefined, limit: 1000 })) ?? [];
      let [bytes, lastPullMs] = [0, 0];
      for (const digest of (await this.#index.links(repositoryId, { after: undefined, limit: 1000 })) ?? []) {
        const { content } = (await this.#index.details(digest)) ?? {};
        bytes += content?.size ?? 0;
        lastPullMs = Math.max(lastPullMs, content?.usedAtMs ?? 0);
      }
      all.push({ repositoryId, tags: tags.length, bytes, lastPullMs });
    }
    return pageIn(all, query);
  }

  async listTags(query: TagListQuery): Promise<FoundPage<ListedTag> | undefined> {
    const names = query.repositoryId ? [repositoryKey(query.repositoryId)] : await this.#names(query);
    if (names === undefined) return undefined;
    const all: ListedTag[] = [];
    for (const name of names) {
      const repositoryId = repositoryNamed(name);
      for (const found of (await this.#index.tags(repositoryId, { after: undefined, limit: 1000 })) ?? []) {
        const { content } = (await this.#index.details(found.digest)) ?? {};
        const used = content?.usedAtMs ?? 0;
        const known = { mediaType: undefined, platforms: [], bytes: content?.size ?? 0 };
        all.push({ repositoryId, ...found, ...known, firstPullMs: 0, lastPullMs: used });
      }
    }
    return pageIn(all, query);
  }

  async #names({ filter: { registry } }: ListQuery): Promise<readonly string[] | undefined> {
    const found: string[] = [];
    for (;;) {
      const page = await this.#index.repositories({ last: found.at(-1), limit: pageSize });
      if (page === undefined) return undefined;
      found.push(...page);
      if (page.length < pageSize) break;
      await nextTurn();
    }
    return found.filter((name) => registry === undefined || name.startsWith(`${registry}/`));
  }
}

type Item = Pick<ListedRepository, 'repositoryId' | 'bytes' | 'lastPullMs'> & { readonly tag?: string };

function pageIn<Found extends Item>(
  all: readonly Found[],
  { filter, order, after, limit }: ListQuery,
): FoundPage<Found> {
  const { text = '', pulledSinceMs = 0, pulledBeforeMs = Infinity, minBytes = 0, maxBytes = Infinity } = filter;
  const items = all
    .filter((item) => nameOf(item).toLowerCase().includes(text))
    .filter(({ lastPullMs }) => lastPullMs >= pulledSinceMs && lastPullMs < pulledBeforeMs)
    .filter(({ bytes }) => bytes >= minBytes && bytes <= maxBytes)
    .filter((item) => after === undefined || inOrder(positionOf(item, order), after, order) > 0)
    .toSorted((one, other) => inOrder(positionOf(one, order), positionOf(other, order), order));
  const last = items.length > limit ? items[limit - 1] : undefined;
  return { items: items.slice(0, limit), next: last && positionOf(last, order) };
}

function nameOf({ repositoryId, tag }: Item): string {
  return tag === undefined ? repositoryKey(repositoryId) : `${repositoryKey(repositoryId)}:${tag}`;
}

function positionOf({ repositoryId, tag, bytes, lastPullMs }: Item, { by }: ListOrder): ListPosition {
  const value = { name: 0, lastPull: lastPullMs, size: bytes }[by];
  return { value, name: repositoryKey(repositoryId), tag };
}

function inOrder(one: ListPosition, other: ListPosition, { isDescending }: ListOrder): number {
  const turn = one.value - other.value || compared(one.name, other.name) || compared(one.tag ?? '', other.tag ?? '');
  return isDescending ? -turn : turn;
}

function compared(one: string, other: string): number {
  return one < other ? -1 : Number(one > other);
}
