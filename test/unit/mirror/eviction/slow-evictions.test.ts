import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Disk } from './disk.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** A full disk that takes this long to remove a file, and what is reserved on it for a blob of its size: two images must go, one after the other. */
async function reservedOn(removalMs: number) {
  const removed = () => new Promise<void>((resolve) => setTimeout(resolve, removalMs));
  const disk = new Disk();
  disk.holdRemovals = {
    open: () => {},
    get opened() {
      return removed();
    },
  };
  await disk.put(
    { name: 'm', size: 50, usedAtMs: 1, names: ['a'] },
    { name: 'n', size: 50, usedAtMs: 2, names: ['b'] },
  );
  const reserving = disk.space.reserve(100).catch((cause: unknown) => cause);
  for (let second = 0; second < 20; second += 1) {
    await vi.advanceTimersByTimeAsync(1_000);
    for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
  }
  return { disk, reserved: await reserving };
}

test('a blob is stored on a disk whose evictions take longer than 5 s together, as long as each ends', async () => {
  const { reserved, disk } = await reservedOn(3_000);
  expect(reserved).toMatchObject({ bytes: 100 });
  expect(disk.left).toEqual([]);
});

test('a blob is not stored on a disk of which one eviction takes longer than 5 s', async () => {
  const { reserved, disk } = await reservedOn(6_000);
  expect(reserved).toMatchObject({ message: 'the store did not answer within 5 s' });
  expect(disk.space.watch.hangs).toBe(false); // It has ended since.
});
