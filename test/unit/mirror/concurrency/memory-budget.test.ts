import { describe, expect, test } from 'vitest';
import { MemoryBudget, MemoryShare, sharesByName } from '../../../../src/mirror/concurrency/memory-budget.ts';
import type { MemoryReservation } from '../../../../src/mirror/ports/memory.ts';

const stays = new AbortController().signal;

/** Reserves when it is its turn, and notes its name then. */
function waitIn(
  budget: MemoryBudget,
  granted: string[],
  { name, bytes, isLoaded = false }: { name: string; bytes: number; isLoaded?: boolean },
): Promise<MemoryReservation> {
  const reserved = budget.reserve(bytes, { signal: stays, isLoaded });
  void reserved.then(() => granted.push(name));
  return reserved;
}

describe('the memory budget', () => {
  test('grants no more than its limit', () => {
    const budget = new MemoryBudget({ maxBytes: 100 });
    expect(budget.tryReserve(60)?.bytes).toBe(60);
    expect(budget.tryReserve(41)).toBeUndefined();
    expect(budget.tryReserve(40)?.bytes).toBe(40);
    expect(budget.reservedBytes).toBe(100);
  });

  test('counts a released reservation once, however often it is released', () => {
    const budget = new MemoryBudget({ maxBytes: 100 });
    const other = budget.tryReserve(30);
    const reservation = budget.tryReserve(50);
    reservation?.release();
    reservation?.release();
    expect(budget.reservedBytes).toBe(30);
    expect(reservation?.tryResize(10)).toBe(false);
    other?.release();
    expect(budget.reservedBytes).toBe(0);
  });

  test('a reservation can grow if there is room, and can always shrink', () => {
    const budget = new MemoryBudget({ maxBytes: 100 });
    const reservation = budget.tryReserve(50);
    expect(reservation?.tryResize(101)).toBe(false);
    expect(reservation?.bytes).toBe(50);
    expect(reservation?.tryResize(100)).toBe(true);
    expect(reservation?.tryResize(10)).toBe(true);
    expect(budget.reservedBytes).toBe(10);
  });

  test('a reservation tells whether it can grow, and nothing changes by the question', async () => {
    const budget = new MemoryBudget({ maxBytes: 100 });
    const reservation = budget.tryReserve(50);
    expect([100, 101, 10].map((bytes) => reservation?.canResize(bytes))).toEqual([true, false, true]);
    expect([reservation?.bytes, budget.reservedBytes]).toEqual([50, 50]);
    const share = await new MemoryShare(budget, 1 / 2).reserve(10, { signal: stays });
    expect([50, 51].map((bytes) => share.canResize(bytes))).toEqual([true, false]);
    reservation?.release();
    expect(reservation?.canResize(10)).toBe(false);
  });

  test('optional uses leave half of the budget to needed uses', () => {
    const budget = new MemoryBudget({ maxBytes: 100 });
    expect(budget.tryReserve(51, { isOptional: true })).toBeUndefined();
    const optional = budget.tryReserve(50, { isOptional: true });
    expect(optional?.tryResize(51)).toBe(false);
    expect(budget.tryReserve(50)?.bytes).toBe(50);
  });

  test('waiters are served in order of arrival, and no request overtakes them', async () => {
    const budget = new MemoryBudget({ maxBytes: 100 });
    const first = budget.tryReserve(80);
    const granted: string[] = [];
    const large = waitIn(budget, granted, { name: 'large', bytes: 90 });
    const small = waitIn(budget, granted, { name: 'small', bytes: 10 });
    expect(budget.tryReserve(1)).toBeUndefined();
    expect(budget.waiting).toBe(2);
    first?.release();
    await Promise.all([large, small]);
    expect(granted).toEqual(['large', 'small']);
    expect(budget.reservedBytes).toBe(100);
  });

  test('waiters whose bytes are in memory are served before those that have yet to load them', async () => {
    const budget = new MemoryBudget({ maxBytes: 100 });
    const first = budget.tryReserve(100);
    const granted: string[] = [];
    const toLoad = waitIn(budget, granted, { name: 'to load', bytes: 60 });
    const loaded = waitIn(budget, granted, { name: 'loaded', bytes: 60, isLoaded: true });
    first?.release();
    (await loaded).release();
    await toLoad;
    expect(granted).toEqual(['loaded', 'to load']);
  });

  test('a waiter that aborts leaves the line, and those behind it move up', async () => {
    const budget = new MemoryBudget({ maxBytes: 100 });
    budget.tryReserve(80);
    const leaving = new AbortController();
    const large = budget.reserve(90, { signal: leaving.signal });
    const small = budget.reserve(10, { signal: stays });
    leaving.abort(new Error('left'));
    await expect(large).rejects.toThrow('left');
    expect((await small).bytes).toBe(10);
    expect(budget.reservedBytes).toBe(90);
    await expect(budget.reserve(1, { signal: leaving.signal })).rejects.toThrow('left');
  });

  test('the line is bounded', async () => {
    const budget = new MemoryBudget({ maxBytes: 100, maxWaiting: 2 });
    const first = budget.tryReserve(100);
    const waiting = [budget.reserve(10, { signal: stays }), budget.reserve(10, { signal: stays })];
    await expect(budget.reserve(10, { signal: stays })).rejects.toMatchObject({ reason: 'busy' });
    first?.release();
    expect((await Promise.all(waiting)).map(({ bytes }) => bytes)).toEqual([10, 10]);
  });

  test('a request for more than the whole budget gets all of it, alone', async () => {
    const budget = new MemoryBudget({ maxBytes: 100 });
    const first = budget.tryReserve(1);
    const whole = budget.reserve(1_000, { signal: stays });
    expect(budget.waiting).toBe(1);
    first?.release();
    expect((await whole).bytes).toBe(100);
  });

  test('half of the budget is available to needed uses, whatever minimums are held', async () => {
    const budget = new MemoryBudget({ maxBytes: 100 });
    const minimums = budget.take(200);
    const granted = [await budget.reserve(30, { signal: stays }), await budget.reserve(20, { signal: stays })];
    const next = budget.reserve(1, { signal: stays });
    expect(budget.waiting).toBe(1);
    granted[0]?.release();
    expect((await next).bytes).toBe(1);
    minimums.release();
  });

  test('a minimum is granted above the limit, and is counted', async () => {
    const budget = new MemoryBudget({ maxBytes: 100 });
    const first = budget.tryReserve(100);
    expect(budget.tryReserve(1)).toBeUndefined();
    const minimum = budget.take(20);
    expect(budget.reservedBytes).toBe(120);
    const waiting = budget.reserve(10, { signal: stays });
    minimum.release();
    expect(budget.waiting).toBe(1);
    first?.release();
    expect((await waiting).bytes).toBe(10);
  });
});

test('a new waiter behind hundreds of others is among the next to be served', async () => {
  const memory = new MemoryBudget({ maxBytes: 1_000 });
  const all = await memory.reserve(1_000, { signal: stays });
  const served: string[] = [];
  const wait = async (name: string) => {
    const reservation = await memory.reserve(1_000, { signal: stays });
    served.push(name);
    return reservation;
  };
  const waiting = Array.from({ length: 300 }, (_, place) => wait(`${place}`));
  waiting.push(wait('last'));
  all.release();
  const first = await Promise.race(waiting);
  first.release();
  await Promise.race(waiting.slice(1));
  expect(served).toEqual(['0', 'last']);
});

test('a share never holds more of the budget than its part, and its waiters do not block others', async () => {
  const budget = new MemoryBudget({ maxBytes: 100 });
  const share = new MemoryShare(budget, 1 / 2);
  const first = await share.reserve(40, { signal: stays });
  const second = share.reserve(20, { signal: stays });
  expect(share.waiting).toBe(1);
  expect(budget.waiting).toBe(0);
  expect((await budget.reserve(60, { signal: stays })).bytes).toBe(60);
  first.release();
  expect((await second).bytes).toBe(20);
  expect(budget.reservedBytes).toBe(80);
});

test('a caller that leaves while it waits for the budget holds nothing of the share', async () => {
  const budget = new MemoryBudget({ maxBytes: 100 });
  const others = budget.tryReserve(100);
  const share = new MemoryShare(budget, 1 / 2);
  const leaving = new AbortController();
  const left = share.reserve(50, { signal: leaving.signal });
  await expect.poll(() => budget.waiting).toBe(1);
  leaving.abort(new Error('left'));
  await expect(left).rejects.toThrow('left');
  others?.release();
  const again = await share.reserve(50, { signal: stays });
  expect(again.bytes).toBe(50);
  again.release();
  again.release();
  expect(budget.reservedBytes).toBe(0);
});

test('an upstream that holds all of its share leaves other upstreams theirs', async () => {
  const memoryFor = sharesByName(new MemoryBudget({ maxBytes: 100 }), 1 / 4);
  await memoryFor('evil.test').reserve(25, { signal: stays });
  void memoryFor('evil.test').reserve(25, { signal: stays });
  expect(memoryFor('evil.test').waiting).toBe(1);
  expect((await memoryFor('docker.io').reserve(25, { signal: stays })).bytes).toBe(25);
});

test('a third upstream gets one reservation at a time though two others hold all there is for upstreams', async () => {
  const budget = new MemoryBudget({ maxBytes: 100 });
  const memoryFor = sharesByName(new MemoryShare(budget, 1 / 2), 1 / 2);
  for (const name of ['one.test', 'two.test']) await memoryFor(name).reserve(25, { signal: stays });
  const first = await memoryFor('docker.io').reserve(10, { signal: stays });
  const second = memoryFor('docker.io').reserve(10, { signal: stays });
  await new Promise(setImmediate);
  expect(budget.reservedBytes).toBe(60);
  first.release();
  const held = memoryFor('quay.io').reserve(20, { signal: stays });
  await held;
  expect(budget.reservedBytes).toBe(70);
  void second;
});

test('the one reservation of an upstream still waits for memory that clients hold', async () => {
  const budget = new MemoryBudget({ maxBytes: 100 });
  const unread = await budget.reserve(90, { signal: stays, isLoaded: true });
  const waiting = sharesByName(new MemoryShare(budget, 1 / 2), 1 / 2)('docker.io').reserve(25, { signal: stays });
  const after = budget.reserve(40, { signal: stays, isLoaded: true });
  await expect.poll(() => budget.waiting).toBe(2);
  unread.release();
  expect([(await waiting).bytes, (await after).bytes]).toEqual([25, 40]);
});
