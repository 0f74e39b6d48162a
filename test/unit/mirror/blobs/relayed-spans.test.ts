import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type JoinSpan, spansOf, SpansSource } from '../../../../src/mirror/blobs/relayed-spans.ts';
import { OciError } from '../../../../src/oci/errors.ts';
import type { Part } from '../../../../src/mirror/relays/relays.ts';

const range = (start: number, end: number) => ({ start, end, isOpenEnded: false });
const mebibyte = 1024 * 1024;

test('ranges that are close together are requested as one', () => {
  expect(spansOf([range(0, 9), range(20, 29), range(mebibyte, mebibyte + 9)])).toEqual([
    { start: 0, end: 29 },
    { start: mebibyte, end: mebibyte + 9 },
  ]);
});

const bytesOf = (parts: readonly Part[]) => parts.reduce((sum, { start, end }) => sum + end - start + 1, 0);

/** Ranges of so many bytes behind gaps of so many. */
function rangesOf(pairs: readonly (readonly [number, number])[]) {
  let position = 0;
  return pairs.map(([gap, length]) => {
    const start = position + gap;
    position = start + length + 1;
    return range(start, position - 1);
  });
}

test('ranges further apart are requested one by one, so that at most a fifth more is transferred', () => {
  const asked = rangesOf(Array.from({ length: 40 }, () => [100_000, 19_999]));
  expect(spansOf(asked)).toHaveLength(40);
  const closer = rangesOf(Array.from({ length: 200 }, () => [2_000, 19_999]));
  expect(spansOf(closer)).toHaveLength(1);
});

test('however many ranges there are, at most 64 requests cover them all', () => {
  const lengths = fc.array(fc.tuple(fc.nat({ max: 3 * mebibyte }), fc.nat({ max: 100 })), {
    minLength: 2,
    maxLength: 200,
  });
  fc.assert(
    fc.property(lengths, (pairs) => {
      const ranges = rangesOf(pairs);
      const spans = spansOf(ranges);
      expect(spans.length).toBeLessThanOrEqual(64);
      for (const { start, end } of ranges) {
        expect(spans.filter((span) => span.start <= start && end <= span.end)).toHaveLength(1);
      }
      expect(spans.toSorted((one, other) => one.start - other.start)).toEqual(spans);
    }),
  );
});

test('up to 64 ranges, wherever they are, cost at most a fifth more than their size, or 64 KiB', () => {
  const lengths = fc.array(fc.tuple(fc.nat({ max: mebibyte }), fc.nat({ max: mebibyte })), {
    minLength: 2,
    maxLength: 64,
  });
  fc.assert(
    fc.property(lengths, (pairs) => {
      const ranges = rangesOf(pairs);
      const asked = bytesOf(ranges);
      expect(bytesOf(spansOf(ranges))).toBeLessThanOrEqual(asked + Math.max(0.2 * asked, 64 * 1024));
    }),
  );
});

const bytes = Buffer.from(Array.from({ length: 100 }, (_, index) => index));

/** Joins what a blob of 100 bytes has, in small reads, and tells what was joined and left. */
function joins({ sendsParts = true } = {}) {
  const asked: (Part & { readonly needsRanges: boolean })[] = [];
  const open = new Set<Part>();
  const join: JoinSpan = async (span, { needsRanges }) => {
    asked.push({ ...span, needsRanges });
    if (needsRanges && !sendsParts) throw new OciError('RANGE_INVALID', 'no parts');
    open.add(span);
    return {
      size: 100,
      settled: Promise.resolve(),
      isShared: false,
      source: {
        read: async (into, position) => {
          const piece = bytes.subarray(position, Math.min(position + 3, span.end + 1, position + into.byteLength));
          into.set(piece);
          return piece.byteLength;
        },
        [Symbol.asyncDispose]: async () => void open.delete(span),
      },
    };
  };
  return { asked, open, join };
}

async function read(source: SpansSource, start: number, end: number): Promise<Buffer> {
  const into = Buffer.alloc(end - start);
  for (let done = 0; done < into.byteLength; ) {
    const count = await source.read(into.subarray(done), start + done);
    if (count === 0) throw new Error('ended');
    done += count;
  }
  return into;
}

test('one span is open at a time', async () => {
  const { asked, open, join } = joins();
  const source = new SpansSource(
    [
      { start: 10, end: 39 },
      { start: 60, end: 69 },
    ],
    join,
  );
  await source.begin();
  expect(await read(source, 10, 15)).toEqual(bytes.subarray(10, 15));
  expect(await read(source, 30, 40)).toEqual(bytes.subarray(30, 40));
  expect(await read(source, 62, 70)).toEqual(bytes.subarray(62, 70));
  expect(asked).toEqual([
    { start: 10, end: 39, needsRanges: true },
    { start: 60, end: 69, needsRanges: false },
  ]);
  expect(open.size).toBe(1);
  await source[Symbol.asyncDispose]();
  expect(open.size).toBe(0);
});

test('an upstream without range support gets one request for all remaining spans', async () => {
  const { asked, join } = joins({ sendsParts: false });
  const source = new SpansSource(
    [
      { start: 10, end: 19 },
      { start: 40, end: 49 },
      { start: 60, end: 69 },
    ],
    join,
  );
  await source.begin();
  expect(await read(source, 10, 20)).toEqual(bytes.subarray(10, 20));
  expect(await read(source, 65, 70)).toEqual(bytes.subarray(65, 70));
  expect(asked).toEqual([
    { start: 10, end: 19, needsRanges: true },
    { start: 10, end: 69, needsRanges: false },
  ]);
});
