import { expect, test } from 'vitest';
import { BlobInMemory, maxSmallBytes, SmallBlobs } from '../../../../src/mirror/blobs/small-blobs.ts';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { gate } from '../../../support/gate.ts';
import { MemoryBlobs } from '../../../support/memory-blobs.ts';

/** A store that counts what is opened. */
class CountedBlobs extends MemoryBlobs {
  opened = 0;
  /** What a read of all bytes waits for. */
  until: Promise<unknown> = Promise.resolve();

  override async open(wanted: Digest) {
    this.opened += 1;
    return super.open(wanted);
  }

  async readAll(wanted: Digest): Promise<Uint8Array | undefined> {
    const bytes = this.blobs.get(wanted);
    await this.until;
    return bytes && digestOf(bytes) === wanted ? bytes : undefined;
  }

  add(bytes: Buffer): Digest {
    const digest = digestOf(bytes);
    this.blobs.set(digest, bytes);
    return digest;
  }
}

function smallBlobs(maxBytes = 100_000): { readonly store: CountedBlobs; readonly blobs: SmallBlobs } {
  const store = new CountedBlobs();
  return { store, blobs: new SmallBlobs({ store, maxBytes }) };
}

test('a small blob is read from the disk once, and then served from memory', async () => {
  const { store, blobs } = smallBlobs();
  const digest = store.add(Buffer.from('a config'));
  for (let pull = 0; pull < 3; pull += 1) {
    const blob = await blobs.open(digest, 8);
    const into = Buffer.alloc(5);
    expect(await blob?.read(into, 2)).toBe(5);
    expect(String(into)).toBe('confi');
    expect(await blob?.read(into, 8)).toBe(0);
  }
  expect(store.opened).toBe(1);
});

test('a larger blob stays on the disk', async () => {
  const { store, blobs } = smallBlobs();
  const digest = store.add(Buffer.alloc(maxSmallBytes + 1));
  expect(await blobs.open(digest)).not.toBeInstanceOf(BlobInMemory);
  await blobs.open(digest);
  expect(store.opened).toBe(2);
});

test('what is in memory is bounded: the blob that was not asked for longest is read again', async () => {
  const { store, blobs } = smallBlobs(5_000);
  const [first, ...others] = Array.from({ length: 6 }, (_, number) => store.add(Buffer.alloc(1_000, number)));
  if (!first) throw new Error('there is a first');
  for (const digest of [first, ...others, others.at(-1) ?? first]) await blobs.open(digest);
  expect(store.opened).toBe(6);
  await blobs.open(first);
  expect(store.opened).toBe(7);
});

test('a blob that was removed from the store is not served from memory', async () => {
  const { store, blobs } = smallBlobs();
  const digest = store.add(Buffer.from('purged'));
  await blobs.open(digest);
  store.blobs.delete(digest);
  blobs.forget(digest);
  expect(await blobs.open(digest)).toBeUndefined();
});

test('a blob that is removed while it is read is served to its reader, and not kept', async () => {
  const { store, blobs } = smallBlobs();
  const digest = store.add(Buffer.from('purged meanwhile'));
  const read = gate();
  store.until = read.opened;
  const opening = blobs.open(digest);
  store.blobs.delete(digest);
  blobs.forget(digest);
  read.open();
  await opening;
  expect(await blobs.open(digest)).toBeUndefined();
});

test('a damaged blob is not kept', async () => {
  const { store, blobs } = smallBlobs();
  const digest = store.add(Buffer.from('right'));
  store.blobs.set(digest, Buffer.from('wrong'));
  expect(await blobs.open(digest)).toBeUndefined();
});

test('a link that names another size is the store\u2019s to judge', async () => {
  const { store, blobs } = smallBlobs();
  const digest = store.add(Buffer.from('a config'));
  await blobs.open(digest);
  await blobs.open(digest, 9);
  expect(store.opened).toBe(2);
});
