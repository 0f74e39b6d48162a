import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { RateWatch } from '../../../../src/mirror/concurrency/abortable-wait.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** At least 100 bytes in each second of waiting. */
function watched() {
  const slow: number[] = [];
  const rate = new RateWatch({ leastBytes: 100, windowMs: 1_000, onSlow: (bytes) => slow.push(bytes) });
  return { rate, slow };
}

test('a transfer that brings less than the least rate is slow at the end of the window', () => {
  const { rate, slow } = watched();
  rate.waits();
  rate.received(99);
  vi.advanceTimersByTime(999);
  expect(slow).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(slow).toEqual([99]);
});

test('a slow transfer is noticed although its reader pauses after every piece', () => {
  const { rate, slow } = watched();
  for (let piece = 0; piece < 10; piece += 1) {
    rate.waits();
    vi.advanceTimersByTime(100);
    rate.received(9);
    rate.pauses();
  }
  expect(slow).toEqual([81]);
});

test('pauses of the reader do not count, however long', () => {
  const { rate, slow } = watched();
  for (let piece = 0; piece < 30; piece += 1) {
    rate.waits();
    vi.advanceTimersByTime(50);
    rate.received(10);
    rate.pauses();
    vi.advanceTimersByTime(10_000);
  }
  expect(slow).toEqual([]);
});

test('every window counts for itself: a burst does not excuse a later silence', () => {
  const { rate, slow } = watched();
  rate.waits();
  rate.received(100_000);
  vi.advanceTimersByTime(1_000);
  expect(slow).toEqual([]);
  vi.advanceTimersByTime(1_000);
  expect(slow).toEqual([0]);
});
