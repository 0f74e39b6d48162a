import { expect, test } from 'vitest';
import { mustRemoveSome, pauseAfter, sweepDue } from '../../../../src/app/bucket/sweep-rules.ts';

const [gib, minute] = [2 ** 30, 60_000];
const swept = { heldBytes: 90 * gib, lastSweep: { agoMs: 5 * minute, tookMs: 1_000 }, maxBytes: 100 * gib };

test('a sweep is due by time: it takes at most a hundredth of it', () => {
  expect(pauseAfter(1_000)).toBe(600_000);
  expect(pauseAfter(60_000)).toBe(6_000_000);
  expect(pauseAfter(3_600_000)).toBe(6 * 3_600_000);
  const due = (agoMs: number) => sweepDue({ ...swept, uploadedBytes: 0, lastSweep: { agoMs, tookMs: 60_000 } });
  expect([due(5_999_999), due(6_000_000)]).toEqual(['no', 'time']);
});

test('a sweep is due early when more was uploaded than there was room for, and than a fiftieth of the bound', () => {
  const due = (uploadedBytes: number, heldBytes: number | undefined) =>
    sweepDue({ ...swept, uploadedBytes, heldBytes });
  expect([due(10 * gib, 90 * gib), due(10 * gib + 1, 90 * gib)]).toEqual(['no', 'uploads']);
  // Full, beyond its bound because much is kept, or not known.
  for (const held of [100 * gib, 300 * gib, undefined])
    expect([due(2 * gib, held), due(2 * gib + 1, held)]).toEqual(['no', 'uploads']);
});

test('while more is uploaded than there is room for, sweeps take at most a fifth of the time', () => {
  const due = (agoMs: number) =>
    sweepDue({ ...swept, uploadedBytes: 50 * gib, lastSweep: { agoMs, tookMs: 10 * minute } });
  expect([due(40 * minute - 1), due(40 * minute)]).toEqual(['no', 'uploads']);
});

test('a sweep removes something only beyond the bound, or where something was not used for too long', () => {
  const limits = { maxBytes: 100, unusedForMs: 50, nowMs: 1_000 };
  expect(mustRemoveSome({ diskBytes: 100, oldestUseMs: 950 }, limits)).toBe(false);
  expect(mustRemoveSome({ diskBytes: 101, oldestUseMs: 950 }, limits)).toBe(true);
  expect(mustRemoveSome({ diskBytes: 1, oldestUseMs: 949 }, limits)).toBe(true);
  expect(mustRemoveSome({ diskBytes: 0, oldestUseMs: Infinity }, limits)).toBe(false);
});
