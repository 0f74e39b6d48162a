import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseRange } from '../../../src/oci/range.ts';

const closed = (start: number, end: number) => ({ start, end, isOpenEnded: false });

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
  { header: 'bytes=0-1,5-6', expected: 'whole' },
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

test.each([['bytes=0-'], ['bytes=0-0'], ['bytes=-5']])('%s of nothing cannot be satisfied', (header) => {
  expect(parseRange(header, 0)).toBe('unsatisfiable');
});

test('whatever the header says, what comes out lies within the content', () => {
  const positions = fc.option(fc.bigInt({ min: 0n, max: 10n ** 20n }), { nil: '' });
  fc.assert(
    fc.property(positions, positions, fc.nat(1_000), (first, last, size) => {
      const range = parseRange(`bytes=${first}-${last}`, size);
      if (typeof range === 'string') return;
      expect(range.start).toBeGreaterThanOrEqual(0);
      expect(range.end).toBeGreaterThanOrEqual(range.start);
      expect(range.end).toBeLessThan(size);
    }),
  );
});
