import { expect, test } from 'vitest';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import { MemoryShare, sharesByName } from '../../../../src/mirror/concurrency/memory-share.ts';

const stays = new AbortController().signal;

test('those who share a part never hold more of the budget than that, nor wait for it in the way of others', async () => {
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

test('who leaves while it waits for the whole holds nothing of the part', async () => {
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

test('an upstream that holds its share leaves the other their own', async () => {
  const memoryFor = sharesByName(new MemoryBudget({ maxBytes: 100 }), 1 / 4);
  await memoryFor('evil.test').reserve(25, { signal: stays });
  void memoryFor('evil.test').reserve(25, { signal: stays });
  expect(memoryFor('evil.test').waiting).toBe(1);
  expect((await memoryFor('docker.io').reserve(25, { signal: stays })).bytes).toBe(25);
});

test('two upstreams that hold all there is for upstreams keep one at a time of a third from nothing', async () => {
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

test('one at a time of an upstream waits for what clients hold of the budget, as all others do', async () => {
  const budget = new MemoryBudget({ maxBytes: 100 });
  const unread = await budget.reserve(90, { signal: stays, isLoaded: true });
  const waiting = sharesByName(new MemoryShare(budget, 1 / 2), 1 / 2)('docker.io').reserve(25, { signal: stays });
  const after = budget.reserve(40, { signal: stays, isLoaded: true });
  await expect.poll(() => budget.waiting).toBe(2);
  unread.release();
  expect([(await waiting).bytes, (await after).bytes]).toEqual([25, 40]);
});
