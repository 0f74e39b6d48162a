import { expect, test } from 'vitest';
import { BlobInMemory } from '../../../../src/mirror/blobs/small-blobs.ts';
import { gate } from '../../../support/gate.ts';
import { body } from '../../../support/start-download.ts';
import { bytes, bytesOf, digest, other, started, withStored } from './start-blobs.ts';

test('a blob in memory is opened at once, and counts as used', async () => {
  const { openInMemory, inMemory, index, clock, asked } = await withStored();
  inMemory.set(digest, new BlobInMemory(bytes));
  clock.advance(5_000);
  expect(openInMemory()).toMatchObject({ bytes, size: bytes.byteLength, cache: { word: 'hit' } });
  expect(index.contents.get(digest)?.usedAtMs).toBe(clock.now());
  expect(asked).toEqual([]);
});

test('a blob that is not in memory is not opened at once', async () => {
  const { openInMemory } = await withStored();
  expect(openInMemory()).toBeUndefined();
});

test('a repository without a link does not get a blob in memory before its upstream has confirmed it', async () => {
  const { open, openInMemory, inMemory, asked } = await withStored();
  inMemory.set(digest, new BlobInMemory(bytes));
  expect(openInMemory(other)).toBeUndefined();
  expect((await open(other)).cache.word).toBe('miss');
  expect(asked).toEqual(['GET library/other']);
});

test('a blob that is being downloaded again is joined, though it is in memory', async () => {
  const { open, openInMemory, inMemory, script } = started();
  const rest = gate();
  script.open = async () => ({
    body: body(bytes.subarray(0, 1_000), rest.opened, bytes.subarray(1_000)),
    offset: 0,
    size: bytes.byteLength,
  });
  const first = await open();
  inMemory.set(digest, new BlobInMemory(bytes));
  expect(openInMemory()).toBeUndefined();
  rest.open();
  expect((await bytesOf(Promise.resolve(first))).equals(bytes)).toBe(true);
});
