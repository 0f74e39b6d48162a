import { expect, test } from 'vitest';
import { chooseVictims } from '../../../../src/mirror/eviction/eviction.ts';
import type { EvictableContent } from '../../../../src/mirror/ports/store-index.ts';
import { digestOf } from '../../../../src/oci/digest.ts';

function contentOf(name: string, size: number, more: Partial<EvictableContent> = {}): EvictableContent {
  return { digest: digestOf(Buffer.from(name)), size, diskBytes: size, isManifest: false, usedAtMs: 0, ...more };
}

const [a, b, c] = [contentOf('a', 10), contentOf('b', 10), contentOf('c', 10)];
const manifest = contentOf('manifest', 1, { isManifest: true });
const anyone = { contentsNeeded: 0, isBusy: () => false };

test.each([
  { what: 'as few as needed', oldestFirst: [a, b, c], bytesNeeded: 11, expected: [a, b] },
  { what: 'exactly enough', oldestFirst: [a, b, c], bytesNeeded: 20, expected: [a, b] },
  { what: 'none if no space is needed', oldestFirst: [a, b, c], bytesNeeded: 0, expected: [] },
  { what: 'all if even that is not enough', oldestFirst: [a, b, c], bytesNeeded: 1_000, expected: [a, b, c] },
  { what: 'up to the first manifest', oldestFirst: [a, manifest, b], bytesNeeded: 1_000, expected: [a, manifest] },
])('the oldest content is evicted: $what', ({ oldestFirst, bytesNeeded, expected }) => {
  expect(chooseVictims(oldestFirst, { ...anyone, bytesNeeded })).toEqual(expected);
});

test('content that is being read is skipped', () => {
  const rules = {
    bytesNeeded: 1_000,
    contentsNeeded: 0,
    isBusy: (one: EvictableContent) => one === manifest,
  };
  expect(chooseVictims([a, manifest, b, c], rules)).toEqual([a, b, c]);
});
