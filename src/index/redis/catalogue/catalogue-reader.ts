import { type Argument, numberIn, type Reply, type Script, textIn } from '../../../cluster/redis/reply.ts';
import type { Clock } from '../../../mirror/ports/clock.ts';
import { type RepositoryId, repositoryKey, repositoryNamed } from '../../../mirror/ports/repository-id.ts';
import type {
  FoundPage,
  ListedRepository,
  ListedTag,
  ListOrder,
  ListPosition,
  ListQuery,
  TagListQuery,
} from '../../../mirror/ports/store-index.ts';
import { mediaTypeIn } from '../../../oci/media-types.ts';
import { parseTag } from '../../../oci/reference.ts';
import { type ListWindow, pageOfTags, positionOfRepository, type Step, walk, windowOf } from '../../list-walk.ts';
import { digestKey, digestOfKey } from '../rows.ts';
import type { View } from '../view.ts';
import { inGroups, utf8 } from '../view-reader.ts';
import { countTags, listRepositories, listTagsByName, listTagsByValue } from './list-scripts.ts';

/** Items that one script looks at. */
const itemsPerScript = 300;
/** A page of repositories ends after so much time, even if it is not full. */
const mostMs = 30;

/** Lists of the view: each script looks at a bounded number of items. All throw ViewLost and RedisUnavailable. */
export class CatalogueReader {
  readonly #view: Pick<View, 'read'>;
  readonly #clock: Pick<Clock, 'monotonicMs'>;

  constructor({ view, clock }: { readonly view: Pick<View, 'read'>; readonly clock: Pick<Clock, 'monotonicMs'> }) {
    this.#view = view;
    this.#clock = clock;
  }

  async repositories(query: ListQuery): Promise<FoundPage<ListedRepository>> {
    const { order, limit } = query;
    const window = windowOf(query, 'repositories');
    if (!window) return { items: [], next: undefined };
    const step = this.#step(listRepositories, query, { order, to: window.to }, { size: 4, itemIn: repositoryIn });
    const positionOf = (item: ListedRepository) => positionOfRepository(item, order);
    return walk(window.from, step, { limit, mostMs, positionOf, clock: this.#clock });
  }

  tags(query: TagListQuery): Promise<FoundPage<ListedTag>> {
    return pageOfTags(query, {
      clock: this.#clock,
      pageWithinMs: 15,
      gatheredWithinMs: 15,
      answeredWithinMs: 35,
      step: (order, to) => this.#tagStep(query, order, to),
      count: (repositoryId) => this.#countTags(repositoryId),
    });
  }

  async #countTags(repositoryId: RepositoryId): Promise<number> {
    const [tags] = await this.#view.read(countTags, [repositoryKey(repositoryId)]);
    return numberIn(tags);
  }

  #tagStep(query: TagListQuery, order: ListOrder, to: ListWindow['to']): Step<ListedTag> {
    const script = order.by === 'name' ? listTagsByName : listTagsByValue;
    return this.#step(script, query, { order, to }, { size: 9, itemIn: tagIn });
  }

  #step<Item>(
    script: Script,
    query: TagListQuery,
    { order, to }: { readonly order: ListOrder; readonly to: ListWindow['to'] },
    { size, itemIn }: { readonly size: number; readonly itemIn: (values: readonly Reply[]) => Item },
  ): Step<Item> {
    return async (from, wanted) => {
      const some = Math.min(wanted, itemsPerScript);
      const args = [
        order.by,
        order.isDescending ? '1' : '0',
        ...positionArguments(from),
        ...positionArguments(to),
        some,
        itemsPerScript,
        ...filterArguments(query),
      ];
      const [isEnd, value, digest, name, tag, ...found] = await this.#view.read(script, args);
      const last: ListPosition = {
        value: numberIn(value),
        digest: digest === '' ? undefined : digestOfKey(textIn(digest)),
        name: utf8(name),
        tag: utf8(tag),
      };
      return { items: inGroups(found, size).map(itemIn), to: numberIn(isEnd) === 1 ? undefined : last };
    };
  }
}

function positionArguments(position: ListPosition | undefined): readonly Argument[] {
  if (!position) return ['', '', '', '', ''];
  const { value, digest, name, tag = '' } = position;
  return ['1', value, digest === undefined ? '' : digestKey(digest), name, tag];
}

function filterArguments({ filter, repositoryId }: TagListQuery): readonly Argument[] {
  const { registry, text, platform, pulledSinceMs, pulledBeforeMs, minBytes, maxBytes } = filter;
  const beginning = registry === undefined ? '' : `${registry}/`;
  const bounds = [pulledSinceMs, pulledBeforeMs, minBytes, maxBytes].map((value) => value ?? '');
  return [beginning, text ?? '', platform ?? '', ...bounds, repositoryId ? repositoryKey(repositoryId) : ''];
}

function repositoryIn([name, tags, bytes, lastPullMs]: readonly Reply[]): ListedRepository {
  return {
    repositoryId: repositoryNamed(utf8(name)),
    tags: numberIn(tags),
    bytes: numberIn(bytes),
    lastPullMs: numberIn(lastPullMs),
  };
}

function tagIn([name, tag, digest, stored, mediaType, platforms, ...numbers]: readonly Reply[]): ListedTag {
  const [bytes, firstPullMs, lastPullMs] = numbers.map(numberIn);
  return {
    repositoryId: repositoryNamed(utf8(name)),
    tag: parseTag(utf8(tag)),
    digest: digestOfKey(textIn(digest)),
    isStored: numberIn(stored) === 1,
    mediaType: mediaTypeIn(utf8(mediaType)),
    platforms: utf8(platforms)
      .split(',')
      .filter((platform) => platform !== ''),
    bytes: bytes ?? 0,
    firstPullMs: firstPullMs ?? 0,
    lastPullMs: lastPullMs ?? 0,
  };
}
