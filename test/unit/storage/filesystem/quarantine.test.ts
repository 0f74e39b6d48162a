import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { blobPath } from '../../../../src/storage/layout.ts';
import { type FileStores, fileStores } from '../../../support/file-stores.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

const contents = Array.from({ length: 5 }, (_, number) => Buffer.from(`content ${number}`));
const digests = contents.map((content) => digestOf(content));

/** Stores content, damages it, and finds it damaged. */
async function quarantine(path: string, { store, clock }: FileStores, number: number, bytes: number): Promise<void> {
  const digest = digests[number] as Digest;
  await store.put(digest, contents[number] as Buffer);
  await writeFile(join(path, blobPath(digest)), Buffer.alloc(bytes));
  clock.advance(1000);
  expect(await store.open(digest, contents[number]?.byteLength)).toBeUndefined();
}

async function kept(path: string): Promise<readonly number[]> {
  const names = await readdir(join(path, 'set-aside'));
  return names.toSorted().map((name) => digests.findIndex((digest) => name.endsWith(digest.slice('sha256:'.length))));
}

test('the newest few damaged files are kept for inspection, and count against maxSize', async () => {
  const path = await temporaryDirectory();
  const stores = fileStores({ path, quarantineLimits: { maxFiles: 2, maxBytes: 1000 } });
  await stores.store.prepare();
  for (const number of [3, 0, 1]) await quarantine(path, stores, number, 100 + number);
  expect(await kept(path)).toEqual([0, 1]);
  expect(stores.store.pendingBytes()).toBe(201);
});

test('damaged files are kept up to a total size, and none that is larger', async () => {
  const path = await temporaryDirectory();
  const stores = fileStores({ path, quarantineLimits: { maxFiles: 10, maxBytes: 1000 } });
  await stores.store.prepare();
  for (const number of [0, 1, 2]) await quarantine(path, stores, number, 400);
  expect(await kept(path)).toEqual([1, 2]);
  expect(stores.store.pendingBytes()).toBe(800);
  await quarantine(path, stores, 3, 1001);
  expect(await kept(path)).toEqual([]);
  expect(stores.store.pendingBytes()).toBe(0);
});

test('what an earlier process quarantined counts from the start, and the bounds hold for it', async () => {
  const path = await temporaryDirectory();
  const former = fileStores({ path });
  await former.store.prepare();
  for (const number of [0, 1, 2]) await quarantine(path, former, number, 100);

  const { store } = fileStores({ path, quarantineLimits: { maxFiles: 2, maxBytes: 1000 } });
  await store.prepare();
  await store.prepare();
  expect(await kept(path)).toEqual([1, 2]);
  expect(store.pendingBytes()).toBe(200);
});

test('two readers that find the same damage quarantine the file once', async () => {
  const path = await temporaryDirectory();
  const { store, failures } = fileStores({ path });
  await store.prepare();
  const [digest = digestOf(Buffer.alloc(0)), content = Buffer.alloc(0)] = [digests[0], contents[0]];
  await store.put(digest, content);
  await writeFile(join(path, blobPath(digest)), 'x');
  const found = await Promise.all([store.open(digest, 9), store.open(digest, 9), store.readAll(digest, 100)]);
  expect(found).toEqual([undefined, undefined, undefined]);
  expect(await kept(path)).toEqual([0]);
  expect(store.pendingBytes()).toBe(1);
  expect(failures).toEqual([]);
});
