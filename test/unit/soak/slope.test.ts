import { expect, test } from 'vitest';
import { growthOf, lowsOf, meanOf } from '../../../soak/slope.ts';

const points = (...values: readonly number[]) => values.map((value, index) => ({ atSeconds: 5 * index, value }));

test('a stable value has not grown, however it varies', () => {
  expect(growthOf(points(7, 7, 7, 7))).toBe(0);
  expect(growthOf(points(1, 9, 9, 1))).toBe(0);
});

test('a steadily growing value has grown by its difference at the end', () => {
  expect(growthOf(points(10, 12, 14, 16))).toBeCloseTo(6);
  expect(growthOf(points(16, 14, 12, 10))).toBeCloseTo(-6);
});

test('one spike is not growth', () => {
  expect(growthOf(points(5))).toBe(0);
  expect(growthOf([])).toBe(0);
});

test('a value that is swept now and then is judged by its minimums', () => {
  const heap = points(10, 30, 50, 11, 31, 51, 12, 32, 52, 90);
  expect(lowsOf(heap, 3).map(({ value }) => value)).toEqual([10, 11, 12]);
  expect(meanOf(lowsOf(heap, 3))).toBe(11);
});
