import fc from 'fast-check';
import { expect, test } from 'vitest';
import { hasTooManyRanges, maxRanges, parseRange, type SatisfiableRange } from '../../../src/oci/range.ts';

const closed = (start: number, end: number) => ({ start, end, isOpenEnded: false });
const several = (...ranges: readonly (readonly [number, number])[]) => ({
  ranges: ranges.map(([start, end]) => closed(start, end)),
});

test.each([
  { header: undefined, expected: 'whole' },
  { header: 'bytes=0-0', expected: closed(0, 0) },
  { header: 'bytes=0-9', expected: closed(0, 9) },
  { header: 'bytes=90-99', expected: closed(90, 99) },
  { header: 'bytes=90-1000', expected: closed(90, 99) },
  { header: 'bytes=50-', expected: { start: 50, end: 99, isOpenEnded: true } },
  { header: 'bytes=0-', expected: { start: 0, end: 99, isOpenEnded: true } },
  { header: 'bytes=-1', expected: closed(99, 99) },
  { header: 'bytes=-100', expected: closed(0, 99) },
  { header: 'bytes=-1000', expected: closed(0, 99) },
  { header: ' bytes= 5 - 6 ', expected: closed(5, 6) },
  { header: 'BYTES=5-6', expected: closed(5, 6) },
  { header: 'bytes=100-', expected: 'unsatisfiable' },
  { header: 'bytes=100-200', expected: 'unsatisfiable' },
  { header: 'bytes=-0', expected: 'unsatisfiable' },
  { header: 'bytes=', expected: 'unsatisfiable' },
  { header: 'bytes= ', expected: 'unsatisfiable' },
  { header: 'bytes=9-5', expected: 'whole' },
  { header: 'bytes=0-1,5-6', expected: several([0, 1], [5, 6]) },
  { header: 'bytes=0-1, 5-6 ,, -1', expected: several([0, 1], [5, 6], [99, 99]) },
  { header: 'bytes=5-6,0-1', expected: several([0, 1], [5, 6]) },
  { header: 'bytes=0-4,5-6', expected: several([0, 4], [5, 6]) },
  { header: 'bytes=0-5,5-6,20-30,22-23', expected: several([0, 6], [20, 30]) },
  { header: 'bytes=0-5,200-300', expected: closed(0, 5) },
  { header: 'bytes=0-5,3-', expected: { start: 0, end: 99, isOpenEnded: true } },
  { header: 'bytes=100-,-0', expected: 'unsatisfiable' },
  { header: 'bytes=,', expected: 'unsatisfiable' },
  { header: 'bytes=0-1,9-5', expected: 'whole' },
  { header: 'bytes=0-1,a', expected: 'whole' },
  { header: 'bytes=-', expected: 'whole' },
  { header: 'bytes=a-b', expected: 'whole' },
  { header: 'bytes=1.5-2', expected: 'whole' },
  { header: 'bytes=--1', expected: 'whole' },
  { header: 'bytes 0-1', expected: 'whole' },
  { header: 'items=0-1', expected: 'whole' },
  { header: '', expected: 'whole' },
])('$header of 100 bytes', ({ header, expected }) => {
  expect(parseRange(header, 100)).toEqual(expected);
});

test.each([['bytes=0-'], ['bytes=0-0'], ['bytes=-5']])('%s of empty content cannot be satisfied', (header) => {
  expect(parseRange(header, 0)).toBe('unsatisfiable');
});

test('every parsed range lies within the content', () => {
  const positions = fc.option(fc.bigInt({ min: 0n, max: 10n ** 20n }), { nil: '' });
  fc.assert(
    fc.property(positions, positions, fc.nat(1_000), (first, last, size) => {
      const range = parseRange(`bytes=${first}-${last}`, size);
      if (typeof range === 'string' || 'ranges' in range) return;
      expect(range.start).toBeGreaterThanOrEqual(0);
      expect(range.end).toBeGreaterThanOrEqual(range.start);
      expect(range.end).toBeLessThan(size);
    }),
  );
});

const contentBytes = 60;
const bound = fc.nat({ max: contentBytes + 10 });
const askedRange = fc.oneof(
  fc.tuple(bound, bound).map(([one, other]) => [Math.min(one, other), Math.max(one, other)] as const),
  bound.map((start) => [start, contentBytes - 1] as const),
);

test('several ranges contain exactly the requested bytes, in ascending order and each once', () => {
  fc.assert(
    fc.property(fc.array(askedRange, { minLength: 1, maxLength: 12 }), (asked) => {
      const range = parseRange(
        `bytes=${asked.map(([start, end]) => (start <= end ? `${start}-${end}` : `${start}-`)).join()}`,
        contentBytes,
      );
      const wanted = new Set(asked.flatMap(([start, end]) => positions(start, Math.min(end, contentBytes - 1))));
      const ranges: readonly SatisfiableRange[] =
        typeof range === 'string' ? [] : 'ranges' in range ? range.ranges : [range];
      expect(range === 'unsatisfiable').toBe(wanted.size === 0);
      expect(ranges.flatMap(({ start, end }) => positions(start, end))).toEqual([...wanted].toSorted((a, b) => a - b));
    }),
  );
});

function positions(start: number, end: number): number[] {
  return Array.from({ length: Math.max(0, end - start + 1) }, (_, index) => start + index);
}

test('the number of ranges in a request is limited', () => {
  const header = (count: number) =>
    `bytes=${Array.from({ length: count }, (_, index) => `${2 * index}-${2 * index}`).join()}`;
  expect([maxRanges, maxRanges + 1].map((count) => hasTooManyRanges(header(count)))).toEqual([false, true]);
  expect(parseRange(header(maxRanges), 10_000)).toMatchObject({ ranges: { length: maxRanges } });
  expect(parseRange(header(maxRanges + 1), 10_000)).toBe('whole');
});
