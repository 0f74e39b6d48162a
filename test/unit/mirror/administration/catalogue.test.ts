import { expect, test } from 'vitest';
import { findRepositories } from '../../../../src/mirror/administration/catalogue.ts';

/** An index with these repositories, that counts how many names it gave out. */
function indexOf(names: readonly string[]) {
  const sorted = names.toSorted();
  const index = {
    given: 0,
    repositories: async ({ last = '', limit }: { last: string | undefined; limit: number }) => {
      const page = sorted.filter((name) => name > last).slice(0, limit);
      index.given += page.length;
      return page;
    },
  };
  return index;
}

const many = Array.from({ length: 25_000 }, (_, number) => `r.test/app/${String(number).padStart(5, '0')}`);

test('a text that nothing contains ends a page after 10,000 names, and the next page goes on there', async () => {
  const index = indexOf([...many, 'z.test/needle']);
  const first = await findRepositories(index, { text: 'needle' }, { after: undefined, limit: 10 });
  expect(first).toEqual({ items: [], after: many[9_999] });
  expect(index.given).toBe(10_000);
  const second = await findRepositories(index, { text: 'needle' }, { after: first?.after, limit: 10 });
  const third = await findRepositories(index, { text: 'needle' }, { after: second?.after, limit: 10 });
  expect(third).toEqual({ items: ['z.test/needle'], after: undefined });
});

test('of one registry, only its names are read', async () => {
  const index = indexOf([...many, 'b.test/x', 'b.test:5000/x', 'b.test.more/x']);
  const found = await findRepositories(index, { registry: 'b.test' }, { after: undefined, limit: 10 });
  expect(found).toEqual({ items: ['b.test/x'], after: undefined });
  expect(index.given).toBeLessThanOrEqual(250);
});

test('pages are full, follow each other, and the last says so', async () => {
  const index = indexOf(many.slice(0, 600));
  const listed: string[] = [];
  for (let after: string | undefined, page = 0; page === 0 || after !== undefined; page += 1) {
    const found = await findRepositories(index, {}, { after, limit: 200 });
    expect(found?.items).toHaveLength(200);
    listed.push(...(found?.items ?? []));
    after = found?.after;
  }
  expect(listed).toEqual(many.slice(0, 600));
});

test('an index that cannot be read now is no empty list', async () => {
  const page = { after: undefined, limit: 10 };
  expect(await findRepositories({ repositories: async () => undefined }, {}, page)).toBeUndefined();
});
