import { expect, test } from 'vitest';
import { Space } from '../../../../src/mirror/eviction/space.ts';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { type FileStores, fileStores } from '../../../support/file-stores.ts';
import { noLooseRecords } from '../../../support/no-loose-records.ts';
import { MemoryIndex } from '../../../support/memory-index.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';
import { RecordingObserver } from '../../upstream/recording-observer.ts';

const hourMs = 3_600_000;
const bytes = Buffer.alloc(1000, 'part');
const digestNamed = (name: string): Digest => digestOf(Buffer.from(name));

/** A store in which content of 1000 bytes lies, beside two interrupted downloads of as many, an hour apart. */
async function storeWithLeftovers({ maxBytes }: { readonly maxBytes: number }) {
  const stores = fileStores({ path: await temporaryDirectory() });
  const { store, clock } = stores;
  await store.prepare();
  const index = new MemoryIndex();
  index.recordContent({ digest: digestNamed('kept'), size: 1000, isManifest: false, names: [], usedAtMs: clock.now() });
  for (const name of ['older', 'newer']) {
    await leave(store, digestNamed(name));
    clock.advance(hourMs);
  }
  const evicted = new Set<Digest>();
  const space = new Space({
    ...stores,
    store: {
      open: (digest) => store.open(digest),
      remove: (digest) => store.remove(digest),
      isBeingRead: (digest) => store.isBeingRead(digest),
      pendingBytes: () => store.pendingBytes(),
      partialBytes: () => store.partialBytes(),
      pendingFiles: () => 0, // Their blocks are larger than what this test writes.
      freeSpace: () => store.freeSpace(),
      dropPartial: (options) => store.dropPartial(options),
    },
    index,
    observer: new RecordingObserver(),
    loose: noLooseRecords,
    limits: { maxBytes, minFreeBytes: 0, maxFiles: 1e6 },
    unusedForMs: Infinity,
    onEvicted: (_, digest) => digest && evicted.add(digest),
  });
  return { store, clock, space, evicted };
}

async function leave(store: FileStores['store'], digest: Digest): Promise<void> {
  await using incoming = await store.create(digest, 'docker.io');
  await incoming.append([bytes]);
  await incoming.checkpoint({ bytes: 1000, digest: digestOf(bytes) });
  await incoming.leave();
}

async function isLeft(store: FileStores['store'], name: string): Promise<boolean> {
  const left = await store.takePartial(digestNamed(name), 'docker.io');
  await left?.incoming.leave();
  await left?.incoming[Symbol.asyncDispose]();
  return left !== undefined;
}

test('partial downloads are dropped, the oldest first, before anything that can be served is evicted', async () => {
  const { store, space, evicted } = await storeWithLeftovers({ maxBytes: 3500 });
  expect(await space.reserve(1500)).toBeDefined();
  expect([await isLeft(store, 'older'), await isLeft(store, 'newer')]).toEqual([false, true]);
  expect([...evicted]).toEqual([]);

  expect(await space.reserve(1000)).toBeDefined();
  expect([await isLeft(store, 'newer'), store.pendingBytes()]).toEqual([false, 0]);
  expect([...evicted]).toEqual([]);
  expect(await space.reserve(500)).toBeDefined();
  expect([...evicted]).toEqual([digestNamed('kept')]);
});

test('no partial download is dropped while there is room', async () => {
  const { store, space } = await storeWithLeftovers({ maxBytes: 3500 });
  expect(await space.reserve(500)).toBeDefined();
  expect([await isLeft(store, 'older'), await isLeft(store, 'newer')]).toEqual([true, true]);
});

test('a partial download that is not resumed for a day is dropped', async () => {
  const { store, clock, space } = await storeWithLeftovers({ maxBytes: 3500 });
  clock.advance(22 * hourMs);
  await space.sweep();
  expect(store.pendingBytes()).toBe(2000);
  clock.advance(1);
  await space.sweep();
  expect([await isLeft(store, 'older'), await isLeft(store, 'newer')]).toEqual([false, true]);
});
