import { readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Checkpoint } from '../../../../src/mirror/ports/blob-store.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { checkpointPath } from '../../../../src/storage/layout.ts';
import { fileStores } from '../../../support/file-stores.ts';
import { randomBytes } from '../../../support/images.ts';
import { thisTest } from '../../../support/owner.ts';
import { ScriptedFiles } from '../../../support/scripted-files.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

const bytes = randomBytes(30_000, 'layer');
const digest = digestOf(bytes);

/** The next process, and what it finds in a store. */
async function afterRestart(path: string) {
  const stores = fileStores({ path });
  await stores.store.prepare();
  const left = await stores.store.takePartial(digest, 'docker.io');
  thisTest(async () => left?.incoming[Symbol.asyncDispose]());
  return { ...stores, left };
}

function checkpointOf(length: number): Checkpoint {
  return { bytes: length, digest: digestOf(bytes.subarray(0, length)) };
}

const checkpointFields = { blob: digest, upstream: 'docker.io', ...checkpointOf(10_000) };

test.each([
  { what: 'has no checkpoint', checkpoint: undefined },
  { what: 'has a truncated checkpoint', checkpoint: JSON.stringify(checkpointFields).slice(0, -1) },
  { what: 'has an empty checkpoint', checkpoint: '' },
  { what: 'has a checkpoint of zeroes', checkpoint: '\0'.repeat(200) },
  { what: 'has an invalid checkpoint', checkpoint: '[]' },
  { what: 'has a checkpoint of 0 bytes', checkpoint: JSON.stringify({ ...checkpointFields, bytes: 0 }) },
  {
    what: 'has a checkpoint without a number of bytes',
    checkpoint: JSON.stringify({ ...checkpointFields, bytes: '10000' }),
  },
  { what: 'has a checkpoint without a valid digest', checkpoint: JSON.stringify({ ...checkpointFields, digest: 'x' }) },
  {
    what: 'has a checkpoint without an upstream',
    checkpoint: JSON.stringify({ ...checkpointFields, upstream: undefined }),
  },
  {
    what: 'has a checkpoint without a valid file name',
    checkpoint: JSON.stringify({ ...checkpointFields, blob: '../../etc/passwd' }),
  },
  {
    what: 'has a checkpoint of another hash algorithm',
    checkpoint: JSON.stringify({ ...checkpointFields, digest: digestOf(bytes, 'sha512') }),
  },
  { what: 'is shorter than its checkpoint says', checkpoint: JSON.stringify({ ...checkpointFields, bytes: 30_001 }) },
])('a file that an earlier process was writing is swept when it $what', async ({ checkpoint }) => {
  const path = await temporaryDirectory();
  await fileStores({ path }).store.prepare();
  await writeUnfinished(path, 'unfinished', checkpoint);
  const { left, store, failures } = await afterRestart(path);
  expect(left).toBeUndefined();
  expect(store.pendingBytes()).toBe(0);
  expect(failures).toEqual([]);
  expect(await readdir(join(path, 'incoming'))).toEqual([]);
});

test('a checkpoint without its partial download is swept', async () => {
  const path = await temporaryDirectory();
  await fileStores({ path }).store.prepare();
  await writeFile(checkpointPath(join(path, 'incoming/gone')), JSON.stringify(checkpointFields));
  expect((await afterRestart(path)).left).toBeUndefined();
  expect(await readdir(join(path, 'incoming'))).toEqual([]);
});

test('of several partial downloads of one blob the largest is kept', async () => {
  const path = await temporaryDirectory();
  await fileStores({ path }).store.prepare();
  for (const length of [10_000, 30_000, 20_000]) {
    await writeUnfinished(path, `part-${length}`, JSON.stringify({ ...checkpointFields, ...checkpointOf(length) }));
  }
  expect((await afterRestart(path)).left?.checkpoint).toEqual(checkpointOf(30_000));
  expect(await readdir(join(path, 'incoming'))).toHaveLength(2);
});

test('partial downloads of earlier processes are dropped by age, the oldest first', async () => {
  const path = await temporaryDirectory();
  await fileStores({ path }).store.prepare();
  const blobs = ['one', 'two', 'three'].map((name) => digestOf(Buffer.from(name)));
  for (const [index, blob] of blobs.entries()) {
    await writeUnfinished(path, `part-${index}`, JSON.stringify({ ...checkpointFields, blob }));
    const leftAt = new Date(Date.UTC(2029, 0, 20 - 5 * index));
    await utimes(checkpointPath(join(path, `incoming/part-${index}`)), leftAt, leftAt);
  }
  const { store } = fileStores({ path });
  await store.prepare();
  expect(await store.dropPartial({ bytes: 0, leftBeforeMs: Date.UTC(2029, 0, 14) })).toBe(10_000);
  expect(await store.takePartial(blobs[2] ?? digest, 'docker.io')).toBeUndefined();
  expect(await store.dropPartial({ bytes: 1, leftBeforeMs: 0 })).toBe(10_000);
  expect(await store.takePartial(blobs[1] ?? digest, 'docker.io')).toBeUndefined();
  expect(await readdir(join(path, 'incoming'))).toHaveLength(2);
});

test.each([
  { operation: 'read', at: 'start' },
  { operation: 'truncate', at: 'start' },
] as const)(
  'a disk that fails to $operation a partial download does not fail the start, and the file is not used',
  async ({ operation }) => {
    const path = await temporaryDirectory();
    await fileStores({ path }).store.prepare();
    await writeUnfinished(path, 'part', JSON.stringify(checkpointFields));
    const files = new ScriptedFiles();
    files.failWith = (call) => (call.operation === operation ? 'EIO' : undefined);
    const { store, failures } = fileStores({ path, files });
    await store.prepare();
    expect(failures).toMatchObject([{ code: 'EIO' }]);
    expect(store.pendingBytes()).toBe(0);
    expect(await store.takePartial(digest, 'docker.io')).toBeUndefined();
    expect(await readdir(join(path, 'incoming'))).toEqual([]);
  },
);

async function writeUnfinished(path: string, name: string, checkpoint: string | undefined): Promise<void> {
  const file = join(path, 'incoming', name);
  await writeFile(file, bytes);
  if (checkpoint !== undefined) await writeFile(checkpointPath(file), checkpoint);
}
