import { expect, test } from 'vitest';
import { Pace } from '../../../../src/mirror/downloads/slots.ts';

const rules = { minBytesPerSecond: 1_000, windowMs: 3_000 };

test('a transfer that receives nothing is slow after one window, not before', () => {
  const pace = new Pace(rules, 0);
  expect([pace.isSlow(2_999), pace.isSlow(3_000)]).toEqual([false, true]);
});

test('a transfer that keeps up the rate is never slow, however its bytes are spread', () => {
  const pace = new Pace(rules, 0);
  for (let second = 2; second <= 60; second += 2) {
    pace.received(2_001, second * 1_000);
    expect(pace.isSlow(second * 1_000)).toBe(false);
  }
});

test('a transfer that stalls is slow one window later, however much it had received before', () => {
  const pace = new Pace(rules, 0);
  pace.received(1_000_000_000, 100);
  expect([pace.isSlow(3_099), pace.isSlow(3_100)]).toEqual([false, true]);
});

test('a transfer that trickles is slow, and no longer when bytes arrive', () => {
  const pace = new Pace(rules, 0);
  for (let second = 1; second <= 10; second += 1) pace.received(1, second * 1_000);
  expect(pace.isSlow(10_000)).toBe(true);
  pace.received(2_000, 10_001);
  expect(pace.isSlow(10_001)).toBe(false);
  expect(pace.bytesPerSecond(10_001)).toBeCloseTo(201, 0);
});

test('time not spent waiting for the upstream does not count', () => {
  const pace = new Pace(rules, 0);
  pace.excuse(10_000);
  expect([pace.isSlow(12_999), pace.isSlow(13_000)]).toEqual([false, true]);
});

test('without a minimum rate nothing is slow', () => {
  expect(new Pace({ ...rules, minBytesPerSecond: 0 }, 0).isSlow(1e9)).toBe(false);
});
