import { expect, test } from 'vitest';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { Disk } from './disk.ts';

const digestNamed = (name: string): Digest => digestOf(Buffer.from(name));

test('content is evicted when other programs fill the disk', async () => {
  const disk = new Disk({ limits: { maxBytes: 1_000, minFreeBytes: 20, maxFiles: 1e6 } });
  disk.freeBytes = 30;
  await disk.put({ name: 'a', size: 50, usedAtMs: 1 });
  expect(await disk.space.reserve(10)).toBeDefined();
  expect(disk.left).toEqual(['a']);
  disk.freeBytes = 25;
  expect(await disk.space.reserve(10)).toBeUndefined(); // Ten are promised, and taking away frees nothing here.
  expect(disk.left).toEqual([]);
});

test('on a disk without free inodes as few files as needed are evicted', async () => {
  const disk = new Disk({ limits: { maxBytes: 1_000, minFreeBytes: 0, maxFiles: 1e6 } });
  await disk.put(...['a', 'b', 'c', 'd'].map((name, usedAtMs) => ({ name, size: 10, usedAtMs })));
  // With each blob goes its record.
  disk.inodes = () => ({ free: 7 + 2 * disk.evicted.size, all: 200 });
  expect(await disk.space.reserve(10)).toBeDefined();
  expect(disk.left).toEqual(['c', 'd']);
});

test('nothing is evicted if other programs use so many inodes that evicting everything would not be enough', async () => {
  const disk = new Disk({ limits: { maxBytes: 1_000, minFreeBytes: 0, maxFiles: 1e6 } });
  await disk.put(...['a', 'b'].map((name, usedAtMs) => ({ name, size: 10, usedAtMs })));
  disk.inodes = () => ({ free: 0, all: 1_000_000 });
  expect(await disk.space.reserve(10)).toBeUndefined();
  expect(await disk.space.couldHold(10)).toBe(false);
  expect(disk.left).toEqual(['a', 'b']);
});

test('a disk that frees space late does not cause more evictions than needed, and there is room once it has freed it', async () => {
  const disk = new Disk({ limits: { maxBytes: 1_000, minFreeBytes: 20, maxFiles: 1e6 } });
  disk.freeBytes = 20;
  await disk.put(...['a', 'b', 'c', 'd'].map((name, usedAtMs) => ({ name, size: 50, usedAtMs })));
  for (const _ of ['at once', 'again']) expect(await disk.space.reserve(10)).toBeUndefined();
  expect(disk.left).toEqual(['b', 'c', 'd']);
  disk.freeBytes = 70;
  expect(await disk.space.reserve(10)).toBeDefined();
  expect(disk.left).toEqual(['b', 'c', 'd']);
});

test('more is evicted if space has not become free after a minute: another program took it', async () => {
  const disk = new Disk({ limits: { maxBytes: 1_000, minFreeBytes: 20, maxFiles: 1e6 } });
  disk.freeBytes = 20;
  await disk.put(...['a', 'b', 'c'].map((name, usedAtMs) => ({ name, size: 50, usedAtMs })));
  await disk.space.reserve(10);
  expect(disk.left).toEqual(['b', 'c']);
  disk.clock.advance(60_000);
  await disk.space.reserve(10);
  expect(disk.left).toEqual(['c']);
});

test('content is evicted for storage.maxSize though no space becomes free', async () => {
  const disk = new Disk({ limits: { maxBytes: 200, minFreeBytes: 20, maxFiles: 1e6 } });
  disk.freeBytes = 1_000;
  await disk.put(...['a', 'b', 'c', 'd'].map((name, usedAtMs) => ({ name, size: 50, usedAtMs })));
  expect(await disk.space.reserve(50)).toBeDefined();
  expect(await disk.space.reserve(50)).toBeDefined();
  expect(disk.left).toEqual(['c', 'd']);
});

test('content that the disk fails to remove still counts, and the failure is reported', async () => {
  const disk = new Disk();
  await disk.put({ name: 'a', size: 60, usedAtMs: 1 }, { name: 'b', size: 40, usedAtMs: 2 });
  disk.fails = true;
  expect(await disk.space.reserve(10)).toBeUndefined();
  expect((await disk.index.totals()).bytes).toBe(100);
  expect(disk.observer.failures.length).toBeGreaterThan(0);
  disk.fails = false;
  expect(await disk.space.reserve(10)).toBeDefined();
});

test('on a full disk, where the index cannot be written, removing content makes room', async () => {
  const disk = new Disk();
  await disk.put({ name: 'old', size: 60, usedAtMs: 1 }, { name: 'new', size: 40, usedAtMs: 2 });
  const forget = disk.index.forget.bind(disk.index);
  disk.index.forget = async (digest) => {
    if (!disk.isRemoved) throw new Error('database or disk is full');
    return forget(digest);
  };
  expect(await disk.space.reserve(50)).toBeUndefined();
  expect(disk.isRemoved).toBe(true);
  expect(await disk.space.reserve(50)).toMatchObject({ bytes: 50 });
  expect(disk.index.contents.has(digestNamed('old'))).toBe(false);
});
