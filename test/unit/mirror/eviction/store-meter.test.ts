import { expect, test } from 'vitest';
import { bytesToFree, inodesToFree } from '../../../../src/mirror/eviction/store-meter.ts';

const limits = { maxBytes: 100, minFreeBytes: 10, maxFiles: 1e6 };

test.each([
  { what: 'there is room', use: { storedBytes: 50, pendingBytes: 10, freeBytes: 100 }, wanted: 40, expected: 0 },
  { what: 'maxSize is reached', use: { storedBytes: 50, pendingBytes: 10, freeBytes: 100 }, wanted: 41, expected: 1 },
  {
    what: 'pending bytes fill the store',
    use: { storedBytes: 0, pendingBytes: 100, freeBytes: 100 },
    wanted: 5,
    expected: 5,
  },
  { what: 'the disk is nearly full', use: { storedBytes: 0, pendingBytes: 0, freeBytes: 15 }, wanted: 10, expected: 5 },
  {
    what: 'both are full, and the greater need counts',
    use: { storedBytes: 98, pendingBytes: 0, freeBytes: 5 },
    wanted: 10,
    expected: 15,
  },
  {
    what: 'maxSize was lowered',
    use: { storedBytes: 150, pendingBytes: 0, freeBytes: 100 },
    wanted: 0,
    expected: 50,
  },
  {
    what: 'no space is wanted and nothing exceeds a limit',
    use: { storedBytes: 100, pendingBytes: 0, freeBytes: 10 },
    wanted: 0,
    expected: 0,
  },
])('when $what, $expected bytes must be evicted', ({ use, wanted, expected }) => {
  expect(bytesToFree(use, limits, wanted)).toBe(expected);
});

test.each([
  { what: 'a disk without an inode limit', inodes: undefined, expected: 0 },
  { what: 'a disk with many', inodes: { free: 1_000, all: 1_000_000 }, expected: 0 },
  { what: 'a disk with fewer than 1,000', inodes: { free: 999, all: 1_000_000 }, expected: 1 },
  { what: 'a small disk with a twentieth', inodes: { free: 10, all: 200 }, expected: 0 },
  { what: 'a small disk with none', inodes: { free: 0, all: 200 }, expected: 10 },
])('of $what, $expected inodes must be freed', ({ inodes, expected }) => {
  expect(inodesToFree(inodes)).toBe(expected);
});
