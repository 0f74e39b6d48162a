import { expect, test } from 'vitest';
import { countsFrom, minuteCounts, Minutes } from '../../../src/telemetry/minutes.ts';

const noon = Date.UTC(2030, 0, 1, 12);
const minute = 60_000;
const day = 24 * 60 * minute;

function hits(hit: number) {
  return countsFrom((name) => (name === 'hit' ? hit : 0));
}

/** The hits of each minute, after noon. */
function listed(minutes: Minutes, nowMs: number, fromMs = 0) {
  return minutes.list(fromMs, nowMs).map(({ atMs, counts }) => [(atMs - noon) / minute, counts.hit]);
}

test('what is counted in the same minute adds up, and a minute without requests is a zero, not a gap', () => {
  const minutes = new Minutes();
  minutes.add(noon, hits(1));
  minutes.add(noon + 59_999, hits(2));
  minutes.add(noon + minute, hits(0));
  minutes.add(noon + 3 * minute, hits(4));
  const now = noon + 3 * minute;
  expect(listed(minutes, now)).toEqual([
    [0, 3],
    [1, 0],
    [3, 4],
  ]);
  expect(listed(minutes, now, noon + minute + 1)).toEqual([
    [1, 0],
    [3, 4],
  ]);
});

test('after 24 hours a minute is forgotten: there are never more than 1440', () => {
  const minutes = new Minutes();
  for (let at = 0; at <= 3_000; at += 1) minutes.add(noon + at * minute, hits(at));
  const found = listed(minutes, noon + 3_000 * minute);
  expect(found).toHaveLength(1_440);
  expect(found[0]).toEqual([1_561, 1_561]);
  expect(listed(minutes, noon + 3_000 * minute + day)).toEqual([]);
});

test('a clock that jumps forward leaves a gap', () => {
  const minutes = new Minutes();
  minutes.add(noon, hits(1));
  minutes.add(noon + 120 * minute, hits(2));
  expect(listed(minutes, noon + 120 * minute)).toEqual([
    [0, 1],
    [120, 2],
  ]);
});

test('a clock that is set back replaces the minutes that come again, and shows none of the future', () => {
  const minutes = new Minutes();
  for (let at = 0; at < 5; at += 1) minutes.add(noon + at * minute, hits(10));
  minutes.add(noon + 2 * minute, hits(1));
  expect(listed(minutes, noon + 2 * minute)).toEqual([
    [0, 10],
    [1, 10],
    [2, 1],
  ]);
  minutes.add(noon + 3 * minute, hits(1));
  minutes.add(noon + 3 * minute, hits(1));
  expect(listed(minutes, noon + 3 * minute).at(-1)).toEqual([3, 2]);
});

test('a clock that is corrected by a moment does not lose the minute that ends', () => {
  const minutes = new Minutes();
  minutes.add(noon - 1, hits(5));
  minutes.add(noon, hits(1));
  minutes.add(noon - 10, hits(1));
  minutes.add(noon + 10, hits(1));
  expect(listed(minutes, noon + 10)).toEqual([
    [-1, 5],
    [0, 3],
  ]);
  expect(listed(minutes, noon - 10)).toEqual(listed(minutes, noon + 10));
});

test('minutes go on after they were written and read back, and so does the one that was not over', () => {
  const before = new Minutes();
  const all = countsFrom((name) => minuteCounts.indexOf(name) + 1);
  before.add(noon, all);
  before.add(noon + minute, hits(0));
  before.add(noon + 2 * minute, hits(3));
  const now = noon + 2 * minute;
  const after = new Minutes();
  expect(after.restore(JSON.parse(before.text(now)))).toBe(true);
  expect(after.list(0, now)).toEqual(before.list(0, now));
  after.add(now, hits(1));
  expect(listed(after, now).at(-1)).toEqual([2, 4]);
});

test('the text of a whole day with the largest numbers is below 300 KiB', () => {
  const minutes = new Minutes();
  const largest = countsFrom(() => Number.MAX_SAFE_INTEGER);
  for (let at = 0; at < 1_440; at += 1) minutes.add(noon + at * minute, largest);
  expect(minutes.text(noon + 1_439 * minute).length).toBeLessThan(300 * 1024);
});

const { format } = JSON.parse(new Minutes().text(noon));

test.each([
  ['nothing', undefined],
  ['a number', 1],
  ['an object of another kind', { minutes: [] }],
  ['another version', { format: '2 hit', minutes: [] }],
  ['minutes that are no list', { format, minutes: 'x' }],
  ['a minute without a time', { format, minutes: [[]] }],
  ['a minute that is no list', { format, minutes: [7] }],
  ['too many numbers', { format, minutes: [Array.from({ length: 12 }, () => 1)] }],
  ['a negative number', { format, minutes: [[1, -1]] }],
  ['a fraction', { format, minutes: [[1, 0.5]] }],
  ['a text among numbers', { format, minutes: [[1, '2']] }],
  ['too many minutes', { format, minutes: Array.from({ length: 1_441 }, (_, at) => [at]) }],
])('a file that is damaged changes nothing: %s', (_, damaged) => {
  const minutes = new Minutes();
  minutes.add(noon, hits(1));
  expect(minutes.restore(damaged)).toBe(false);
  expect(listed(minutes, noon)).toEqual([[0, 1]]);
});
