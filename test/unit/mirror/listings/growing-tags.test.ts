import { expect, test } from 'vitest';
import { GrowingTags } from '../../../../src/mirror/listings/growing-tags.ts';

const first = (...tags: readonly string[]) => ({ tags, isFirst: true, hasNext: true });
const next = (...tags: readonly string[]) => ({ tags, isFirst: false, hasNext: true });
const all = { last: undefined, limit: 2 };

test.each([
  { what: 'as many as are there', pages: [first('a', 'b')], wanted: all, page: { tags: ['a', 'b'], hasMore: true } },
  { what: 'more than are there', pages: [first('a')], wanted: all, page: undefined },
  {
    what: 'what two pages have',
    pages: [first('a'), next('b', 'c')],
    wanted: all,
    page: { tags: ['a', 'b'], hasMore: true },
  },
  {
    what: 'what is behind a tag that is not there',
    pages: [first('a', 'c', 'e')],
    wanted: { last: 'b', limit: 2 },
    page: { tags: ['c', 'e'], hasMore: true },
  },
  { what: 'what is behind all', pages: [first('a', 'b')], wanted: { last: 'b', limit: 1 }, page: undefined },
  {
    what: 'nothing at all, which says that the repository is there',
    pages: [first('a')],
    wanted: { last: undefined, limit: 0 },
    page: { tags: [], hasMore: true },
  },
  { what: 'nothing before a page is there', pages: [], wanted: { last: undefined, limit: 0 }, page: undefined },
  { what: 'what came out of order', pages: [first('b', 'a')], wanted: all, page: undefined },
  { what: 'what came out of order on another page', pages: [first('b', 'c'), next('a')], wanted: all, page: undefined },
  {
    what: 'what came with something that is no tag',
    pages: [first('a', '-', 'b c', 'b')],
    wanted: all,
    page: { tags: ['a', 'b'], hasMore: true },
  },
  {
    what: 'what begins with the last of the page before',
    pages: [first('a'), next('a', 'b')],
    wanted: all,
    page: { tags: ['a', 'b'], hasMore: true },
  },
  {
    what: 'what is read anew',
    pages: [first('b', 'a'), first('c', 'd')],
    wanted: all,
    page: { tags: ['c', 'd'], hasMore: true },
  },
])('of a list that is being fetched a client wants $what', ({ pages, wanted, page }) => {
  const growing = new GrowingTags();
  for (const one of pages) growing.add(one);
  expect(growing.page(wanted)).toEqual(page);
});
