import { expect, test } from 'vitest';
import { GrowingTags } from '../../../../src/mirror/listings/growing-tags.ts';

const first = (...tags: readonly string[]) => ({ tags, isFirst: true, hasNext: true });
const next = (...tags: readonly string[]) => ({ tags, isFirst: false, hasNext: true });
const all = { last: undefined, limit: 2 };

test.each([
  {
    what: 'as many tags as have arrived',
    pages: [first('a', 'b')],
    wanted: all,
    page: { tags: ['a', 'b'], hasMore: true },
  },
  { what: 'more tags than have arrived', pages: [first('a')], wanted: all, page: undefined },
  {
    what: 'the tags of two pages',
    pages: [first('a'), next('b', 'c')],
    wanted: all,
    page: { tags: ['a', 'b'], hasMore: true },
  },
  {
    what: 'the tags after one that does not exist',
    pages: [first('a', 'c', 'e')],
    wanted: { last: 'b', limit: 2 },
    page: { tags: ['c', 'e'], hasMore: true },
  },
  {
    what: 'tags after the last that has arrived',
    pages: [first('a', 'b')],
    wanted: { last: 'b', limit: 1 },
    page: undefined,
  },
  {
    what: 'no tags, only whether the repository exists',
    pages: [first('a')],
    wanted: { last: undefined, limit: 0 },
    page: { tags: [], hasMore: true },
  },
  { what: 'no tags, before a page has arrived', pages: [], wanted: { last: undefined, limit: 0 }, page: undefined },
  { what: 'tags of a page out of order', pages: [first('b', 'a')], wanted: all, page: undefined },
  { what: 'tags of a later page out of order', pages: [first('b', 'c'), next('a')], wanted: all, page: undefined },
  {
    what: 'tags of a page with an invalid tag',
    pages: [first('a', '-', 'b c', 'b')],
    wanted: all,
    page: { tags: ['a', 'b'], hasMore: true },
  },
  {
    what: 'tags of a page that repeats the last tag of the one before',
    pages: [first('a'), next('a', 'b')],
    wanted: all,
    page: { tags: ['a', 'b'], hasMore: true },
  },
  {
    what: 'tags of a list that is fetched again',
    pages: [first('b', 'a'), first('c', 'd')],
    wanted: all,
    page: { tags: ['c', 'd'], hasMore: true },
  },
])('of a list that is being fetched a client wants $what', ({ pages, wanted, page }) => {
  const growing = new GrowingTags();
  for (const one of pages) growing.add(one);
  expect(growing.page(wanted)).toEqual(page);
});
