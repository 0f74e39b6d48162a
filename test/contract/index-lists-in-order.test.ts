import { describe, expect, test } from 'vitest';
import { repositoryKey } from '../../src/mirror/ports/repository-id.ts';
import type {
  FoundPage,
  ListedRepository,
  ListedTag,
  ListFilter,
  ListOrder,
  ListPosition,
  ListSort,
} from '../../src/mirror/ports/store-index.ts';
import { ociIndex, ociManifest } from '../../src/oci/media-types.ts';
import { parseTag } from '../../src/oci/reference.ts';
import { elsewhere, everyItem, indexes, link, named, pullImage, repository, type TestedIndex } from './indexes.ts';

const platforms = ['linux/amd64', 'linux/arm64/v8', 'windows/amd64'];
/** Always the same numbers. */
const numbers = (seed: number) => (most: number) => {
  seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
  return Math.floor((seed / 2 ** 31) * most);
};

async function fill(index: TestedIndex): Promise<{ readonly tags: ListedTag[]; readonly of: ListedRepository[] }> {
  const next = numbers(7);
  const [tags, of]: [ListedTag[], ListedRepository[]] = [[], []];
  for (const upstream of ['a.test', 'a.test.more', 'docker.io', 'z.test:5000']) {
    for (const name of ['app', 'app-x', 'app/y', `team-${next(9)}/tool`, 'library/nginx']) {
      const repositoryId = repository(upstream, name);
      let [bytes, count] = [0, 0];
      for (const tag of ['1', '1.0', 'A', 'latest', 'v2-rc'].slice(0, 1 + next(5))) {
        const platform = platforms[next(4)];
        const child = named(`child ${upstream}/${name}:${tag}`);
        const images = platform === undefined ? [] : [{ digest: child, platform }];
        const usedAtMs = 1_000 + next(4) * 1_000;
        const size = 10 * next(5);
        if (platform !== undefined)
          pullImage(index, { name: `child ${upstream}/${name}:${tag}`, bytes: 1, usedAtMs: 1 });
        const digest = pullImage(index, { name: `${upstream}/${name}:${tag}`, images, bytes: 100 + size, usedAtMs });
        index.recordTag(repositoryId, parseTag(tag), digest);
        for (const linked of platform === undefined ? [digest] : [digest, child])
          index.recordLink(link(repositoryId, linked, { kind: 'manifest', size }));
        bytes += platform === undefined ? size : 2 * size;
        count += 1;
        const about = {
          mediaType: images.length > 0 ? ociIndex : ociManifest,
          platforms: images.map((image) => image.platform),
        };
        const total = 100 + size + images.length;
        const times = { firstPullMs: usedAtMs, lastPullMs: usedAtMs };
        tags.push({ repositoryId, tag: parseTag(tag), digest, isStored: true, bytes: total, ...about, ...times });
      }
      const lastPullMs = 10_000 + next(4) * 1_000;
      index.recordRepositoryUse(repositoryId, lastPullMs);
      of.push({ repositoryId, tags: count, bytes, lastPullMs });
    }
  }
  await index.details(named('x'));
  return { tags, of };
}

const orders = (['name', 'lastPull', 'size'] as const).flatMap((by) =>
  [false, true].map((isDescending): ListOrder => ({ by, isDescending })),
);
const filters: readonly (ListFilter & { readonly values?: never })[] = [
  {},
  { registry: 'a.test' },
  { registry: 'nowhere' },
  { text: 'nginx' },
  { text: 'o/app' },
  { text: 'x:v2' },
  { text: 'nothing' },
  { platform: 'linux/arm64' },
  { pulledSinceMs: 3_000 },
  { pulledBeforeMs: 12_000 },
  { pulledSinceMs: 2_000, pulledBeforeMs: 2_001, text: 'app' },
  { pulledSinceMs: 11_000, pulledBeforeMs: 12_001 },
  { pulledSinceMs: 3_000, pulledBeforeMs: 2_000 },
  { minBytes: 20, maxBytes: 120 },
  { minBytes: 121, registry: 'docker.io', platform: 'linux/amd64' },
];

const valueOf = (item: { readonly lastPullMs: number; readonly bytes: number }, by: ListSort) =>
  ({ name: 0, lastPull: item.lastPullMs, size: item.bytes })[by];
const keyOf = (item: ListedRepository | ListedTag, by: ListSort): readonly (string | number)[] => [
  valueOf(item, by),
  by !== 'name' && 'digest' in item ? item.digest : '',
  repositoryKey(item.repositoryId),
  'tag' in item ? item.tag : '',
];
const compare = (one: readonly (string | number)[], other: readonly (string | number)[]): number => {
  const at = one.findIndex((value, place) => value !== other[place]);
  return at < 0 ? 0 : (one[at] ?? 0) < (other[at] ?? 0) ? -1 : 1;
};

function expected<Item extends ListedRepository | ListedTag>(
  items: readonly Item[],
  filter: ListFilter,
  { by, isDescending }: ListOrder,
  platformsOf: (item: Item) => readonly string[],
): readonly Item[] {
  const nameOf = (item: Item) =>
    `${repositoryKey(item.repositoryId)}${'tag' in item ? `:${item.tag}` : ''}`.toLowerCase();
  const {
    registry,
    text = '',
    platform,
    pulledSinceMs = 0,
    pulledBeforeMs = Infinity,
    minBytes = 0,
    maxBytes = Infinity,
  } = filter;
  return items
    .filter((item) => registry === undefined || item.repositoryId.upstream === registry)
    .filter((item) => nameOf(item).includes(text))
    .filter((item) => item.lastPullMs >= pulledSinceMs && item.lastPullMs < pulledBeforeMs)
    .filter((item) => item.bytes >= minBytes && item.bytes <= maxBytes)
    .filter((item) => platform === undefined || platformsOf(item).some((one) => `${one}/`.startsWith(`${platform}/`)))
    .toSorted((one, other) => compare(keyOf(one, by), keyOf(other, by)) * (isDescending ? -1 : 1));
}

async function inPages<Item>(
  limit: number,
  ask: (page: {
    readonly after: ListPosition | undefined;
    readonly limit: number;
  }) => Promise<FoundPage<Item> | undefined>,
): Promise<readonly Item[]> {
  const items: Item[] = [];
  for (let after: ListPosition | undefined; ; ) {
    const page = await ask({ after, limit });
    expect(page?.items.length).toBeLessThanOrEqual(limit);
    items.push(...(page?.items ?? []));
    after = page?.next;
    if (after === undefined) return items;
  }
}

describe.each(indexes)('lists of many repositories and tags in an index $name', ({ subject }) => {
  test('each order and filter gives what it says, in pages of any size', async () => {
    const index = await subject();
    const { tags, of } = await fill(index);
    const platformsOf = ({ repositoryId }: ListedRepository | ListedTag) =>
      tags.filter((tag) => tag.repositoryId === repositoryId).flatMap((tag) => tag.platforms);
    for (const order of orders) {
      for (const filter of filters) {
        const wanted = expected(tags, filter, order, (tag) => tag.platforms);
        const repositories = expected(of, filter, order, platformsOf);
        for (const limit of [7, 1000]) {
          const found = await inPages(limit, (page) => index.listTags({ filter, order, ...page }));
          expect({ order, filter, found }).toEqual({ order, filter, found: wanted });
          const listed = await inPages(limit, (page) => index.listRepositories({ filter, order, ...page }));
          expect({ order, filter, listed }).toEqual({ order, filter, listed: repositories });
        }
      }
    }
  });

  test('the tags of one repository have the same orders', async () => {
    const index = await subject();
    const { tags } = await fill(index);
    const repositoryId = repository('docker.io', 'library/nginx');
    const ofIt = tags.filter((tag) => repositoryKey(tag.repositoryId) === repositoryKey(repositoryId));
    for (const order of orders) {
      const wanted = expected(ofIt, {}, order, () => []);
      for (const limit of [2, 1000])
        expect(await inPages(limit, (page) => index.listTags({ filter: {}, order, repositoryId, ...page }))).toEqual(
          wanted,
        );
    }
    expect(await index.listTags({ ...everyItem, repositoryId: elsewhere })).toEqual({ items: [], next: undefined });
  });
});
