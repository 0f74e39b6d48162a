import fc from 'fast-check';
import { expect, test } from 'vitest';
import { tagNamesOf, tagPage } from '../../../../src/mirror/listings/tag-names.ts';
import { longestTurnMs } from '../../../support/longest-turn.ts';

const tag = fc.stringMatching(/^[a-cA-C0-2_][a-c0-2._-]{0,3}$/);

test('a page holds the tags after the last one, the same as a search of all tags finds', async () => {
  const property = fc.asyncProperty(
    fc.array(tag, { maxLength: 30 }),
    fc.option(fc.oneof(tag, fc.string({ maxLength: 3 })), { nil: undefined }),
    fc.integer({ min: 0, max: 40 }),
    async (names, last, limit) => {
      const following = [...new Set(names)].sort().filter((name) => last === undefined || name > last);
      expect(tagPage(await tagNamesOf(names), { last, limit })).toEqual({
        tags: following.slice(0, limit),
        hasMore: following.length > limit,
      });
    },
  );
  await fc.assert(property, { seed: 1, numRuns: 2_000 });
});

test('invalid tags are dropped', async () => {
  expect(await tagNamesOf(['b', 'a b', '', 'é', '.x', 'x'.repeat(129), 'a'])).toBe('a b');
});

/** As long as tags of two hundred thousand builds are, in an order of no use. */
const many = Array.from({ length: 200_000 }, (_, number) => `build-${(number * 7_919) % 200_000}-${'x'.repeat(60)}`);

test('sorting the longest list blocks the event loop only briefly', async () => {
  expect(await longestTurnMs(async () => void (await tagNamesOf(many)))).toBeLessThan(150);
});

test('a page of the longest list costs no more than its tags', async () => {
  const names = await tagNamesOf(many);
  const spent = await longestTurnMs(async () => {
    for (let page = 0; page < 1_000; page += 1) tagPage(names, { last: many[page * 100], limit: 1 });
  });
  expect(spent).toBeLessThan(150);
});
