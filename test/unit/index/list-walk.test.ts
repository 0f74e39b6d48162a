import { expect, test } from 'vitest';
import { gather, pageOfTags, type Step, walk } from '../../../src/index/list-walk.ts';
import type { ListedTag, ListOrder, ListPosition, TagListQuery } from '../../../src/mirror/ports/store-index.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import { parseRepository, parseTag } from '../../../src/oci/reference.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const byName: ListOrder = { by: 'name', isDescending: false };
const byUse: ListOrder = { by: 'lastPull', isDescending: false };

function tagOf(number: number): ListedTag {
  return {
    repositoryId: { upstream: 'a.test', repository: parseRepository('app') },
    tag: parseTag(String(number).padStart(6, '0')),
    digest: digestOf(Buffer.from(`${number}`)),
    isStored: true,
    mediaType: undefined,
    platforms: [],
    bytes: 1,
    firstPullMs: 1,
    lastPullMs: 1_000_000 - number,
  };
}

const placeOf = (number: number): ListPosition => ({ value: 0, name: 'a.test/app', tag: tagOf(number).tag });

/** Looks at 100 numbers in each step, and tells of those that match. */
function stepsOf(count: number, matches: (number: number) => boolean, onStep = () => {}): Step<ListedTag> {
  return async (from, wanted) => {
    onStep();
    const start = from?.tag === undefined || from.tag === '' ? 0 : Number(from.tag) + 1;
    const numbers = Array.from({ length: Math.max(0, Math.min(100, count - start)) }, (_, place) => start + place);
    const items = numbers.filter(matches).slice(0, wanted).map(tagOf);
    return { items, to: start + 100 >= count ? undefined : placeOf(start + 99) };
  };
}

test('a page in which nothing matches ends after its time, and the next one goes on there', async () => {
  const clock = new ManualClock();
  let steps = 0;
  const step = stepsOf(
    1_000,
    (number) => number === 950,
    () => {
      steps += 1;
      clock.advance(10);
    },
  );
  const options = { limit: 10, mostMs: 35, clock, positionOf: (item: ListedTag) => placeOf(Number(item.tag)) };
  const first = await walk(undefined, step, options);
  expect(first).toEqual({ items: [], next: placeOf(399) });
  expect(steps).toBe(4);
  const second = await walk(first.next, step, options);
  expect(second.next).toEqual(placeOf(799));
  expect(await walk(second.next, step, options)).toEqual({ items: [tagOf(950)], next: undefined });
});

test('a full page has no item too many, and says where the next begins', async () => {
  const clock = new ManualClock();
  const options = { limit: 30, mostMs: 35, clock, positionOf: (item: ListedTag) => placeOf(Number(item.tag)) };
  const page = await walk(
    undefined,
    stepsOf(1_000, () => true),
    options,
  );
  expect(page.items).toHaveLength(30);
  expect(page.next).toEqual(placeOf(29));
  const sparse = await walk(
    undefined,
    stepsOf(1_000, (number) => number % 50 === 0),
    { ...options, limit: 20 },
  );
  expect(sparse.items).toHaveLength(20);
  expect(sparse.next).toBeUndefined();
});

test('what is found in another order is sorted, however many match', async () => {
  const clock = new ManualClock();
  const other = { order: byName, from: undefined, step: stepsOf(10_000, () => true) };
  const options = { order: byUse, limit: 3, mostMs: 1_000, mostItems: Infinity, clock };
  const page = await gather(undefined, other, { ...options, after: undefined });
  expect(page?.items).toEqual([9_999, 9_998, 9_997].map(tagOf));
  const next = await gather(undefined, other, { ...options, after: page?.next });
  expect(next?.items).toEqual([9_996, 9_995, 9_994].map(tagOf));
});

test('gathering ends when too many match, or when its time is over', async () => {
  const clock = new ManualClock();
  const options = { order: byUse, limit: 3, mostMs: 50, mostItems: 500, clock, after: undefined };
  let steps = 0;
  const counting = () => {
    steps += 1;
    clock.advance(1);
  };
  const all = { order: byName, from: undefined, step: stepsOf(100_000, () => true, counting) };
  expect(await gather(undefined, all, options)).toBeUndefined();
  expect(steps).toBe(6);
  const none = { order: byName, from: undefined, step: stepsOf(100_000, () => false, counting) };
  expect(await gather(undefined, none, options)).toBeUndefined();
  expect(steps).toBe(6 + 50);
});

const nothing: TagListQuery = { filter: { text: 'x' }, order: byUse, after: undefined, limit: 10 };

const bounds = {
  clock: new ManualClock(),
  pageWithinMs: 1_000,
  gatheredWithinMs: 1_000,
  answeredWithinMs: 3_000,
  count: () => 0,
};

test('few tags that match are found in the order of names, after a few steps in that of pulls', async () => {
  const looked: string[] = [];
  const found = await pageOfTags(nothing, {
    ...bounds,
    step: ({ by }) =>
      stepsOf(
        1_000,
        (number) => by === 'name' && number % 500 === 7,
        () => looked.push(by),
      ),
  });
  expect(found).toEqual({ items: [507, 7].map(tagOf), next: undefined });
  expect(looked.filter((by) => by === 'lastPull')).toHaveLength(2);
});

test('if too many match in the other order, the page goes on in its own', async () => {
  const found = await pageOfTags(nothing, {
    ...bounds,
    step: ({ by }) => stepsOf(20_000, (number) => by === 'name' || number >= 5_000),
  });
  expect(found.items).toEqual(Array.from({ length: 10 }, (_, place) => tagOf(5_000 + place)));
});

/** What the ways of an index may take, where each step takes 5 ms. */
function slowSteps(matches: (number: number, by: ListOrder['by']) => boolean, withinMs = { gatheredWithinMs: 20 }) {
  const clock = new ManualClock();
  const looked: string[] = [];
  const step = ({ by }: ListOrder) =>
    stepsOf(
      10_000,
      (number) => matches(number, by),
      () => {
        looked.push(by);
        clock.advance(5);
      },
    );
  return { clock, looked, ways: { ...bounds, clock, step, pageWithinMs: 15, answeredWithinMs: 35, ...withinMs } };
}

test('an answer that tries both orders ends within the time of one answer, and the pages after it find the rest', async () => {
  const { clock, looked, ways } = slowSteps((number) => number === 9_050);
  for (let after: ListPosition | undefined, isFound = false; !isFound; ) {
    const startedAtMs = clock.monotonicMs();
    const { items, next } = await pageOfTags({ ...nothing, after }, ways);
    expect(clock.monotonicMs() - startedAtMs).toBeLessThanOrEqual(35);
    isFound = items.length === 1;
    expect(isFound || next !== undefined).toBe(true);
    after = next;
  }
  expect(looked.filter((by) => by === 'lastPull').length, 'steps of 100 tags').toBeLessThanOrEqual(100);
});

test('if gathering took all the time, the page ends where it was tried in its own order', async () => {
  const { clock, looked, ways } = slowSteps((number, by) => by === 'lastPull' && number === 7, {
    gatheredWithinMs: 90,
  });
  const found = await pageOfTags(nothing, ways);
  expect(found).toEqual({ items: [tagOf(7)], next: placeOf(199) });
  expect(looked).toEqual(['lastPull', 'lastPull', 'name', 'name', 'name', 'name', 'name']);
  expect(clock.monotonicMs()).toBe(35);
});

test('a large repository without a filter is not gathered: all of it would match', async () => {
  const { looked, ways } = slowSteps((number) => number >= 450);
  const repositoryId = tagOf(1).repositoryId;
  const found = await pageOfTags({ ...nothing, filter: {}, repositoryId }, { ...ways, count: () => 3_001 });
  expect(found.items).toEqual(Array.from({ length: 10 }, (_, place) => tagOf(450 + place)));
  expect(looked).toEqual(Array.from({ length: 5 }, () => 'lastPull'));
});

test('a step is asked for a bounded number of items, however many the page may have', async () => {
  const wanted: number[] = [];
  const all: Step<ListedTag> = async (from, most) => {
    wanted.push(most);
    const start = from?.tag === undefined ? 0 : Number(from.tag) + 1;
    const numbers = Array.from({ length: Math.min(most, 2_000 - start) }, (_, place) => start + place);
    return { items: numbers.map(tagOf), to: undefined };
  };
  const options = {
    mostMs: 1_000,
    clock: new ManualClock(),
    positionOf: (item: ListedTag) => placeOf(Number(item.tag)),
  };
  const page = await walk(undefined, all, { ...options, limit: 1_000 });
  expect(page).toEqual({ items: Array.from({ length: 1_000 }, (_, number) => tagOf(number)), next: placeOf(999) });
  expect(wanted).toEqual([500, 500]);
  const other = { order: byName, from: undefined, step: all };
  const gathered = await gather(undefined, other, {
    ...options,
    order: byUse,
    after: undefined,
    limit: 1,
    mostItems: 5_000,
  });
  expect(gathered?.items).toEqual([tagOf(1_999)]);
  expect(Math.max(...wanted)).toBe(500);
});
