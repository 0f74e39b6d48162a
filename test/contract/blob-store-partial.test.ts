import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { BlobStore, PartialDownload, Checkpoint } from '../../src/mirror/ports/blob-store.ts';
import type { ByteSource } from '../../src/mirror/ports/byte-source.ts';
import { type Digest, digestOf, parseDigest } from '../../src/oci/digest.ts';
import { blobStores } from './blob-stores.ts';

const bytes = randomBytes(300_000);
const digest = digestOf(bytes);
const absent = parseDigest(`sha256:${'0'.repeat(64)}`);

/** Of the first so many bytes. */
function checkpointOf(length: number): Checkpoint {
  return { bytes: length, digest: digestOf(bytes.subarray(0, length)) };
}

/** A download that ends before its time. */
async function leave(
  store: BlobStore,
  length: number,
  { checkpointBytes = length, blob = digest }: { readonly checkpointBytes?: number; readonly blob?: Digest } = {},
): Promise<void> {
  await using incoming = await store.create(blob, 'docker.io');
  await incoming.append([bytes.subarray(0, checkpointBytes)]);
  if (checkpointBytes > 0) await incoming.checkpoint(checkpointOf(checkpointBytes));
  await incoming.append([bytes.subarray(checkpointBytes, length)]);
  await incoming.leave();
}

async function taken(store: BlobStore): Promise<PartialDownload> {
  const left = await store.takePartial(digest, 'docker.io');
  if (!left) throw new Error('nothing was left');
  return left;
}

async function readFrom(source: Pick<ByteSource, 'read'>, position: number, length: number): Promise<Buffer> {
  const into = Buffer.alloc(length);
  return into.subarray(0, await source.read(into, position));
}

async function contentOf(store: BlobStore, name: Digest): Promise<Buffer | undefined> {
  await using blob = await store.open(name);
  return blob && (await readFrom(blob, 0, blob.size));
}

describe.each(blobStores)('a blob store $name', ({ subject }) => {
  test('hands a partial download to the next attempt, which resumes it', async () => {
    const { store } = await subject();
    await leave(store, 200_000);
    expect(store.pendingBytes()).toBe(200_000);
    expect(await store.open(digest)).toBeUndefined();

    const { incoming, checkpoint } = await taken(store);
    expect(checkpoint).toEqual(checkpointOf(200_000));
    expect(store.pendingBytes()).toBe(200_000);
    expect(await readFrom(incoming, 150_000, 100_000)).toEqual(bytes.subarray(150_000, 200_000));
    await incoming.append([bytes.subarray(200_000)]);
    await incoming.commit();
    await incoming[Symbol.asyncDispose]();
    expect(await contentOf(store, digest)).toEqual(bytes);
    expect(store.pendingBytes()).toBe(0);
    expect(await store.takePartial(digest, 'docker.io')).toBeUndefined();
  });

  test('hands a partial download to one caller only, and to another when that one releases it', async () => {
    const { store } = await subject();
    await leave(store, 200_000);
    const { incoming } = await taken(store);
    expect(await store.takePartial(digest, 'docker.io')).toBeUndefined();
    expect(await store.takePartial(absent, 'docker.io')).toBeUndefined();
    await incoming.leave();
    await incoming[Symbol.asyncDispose]();

    const again = await taken(store);
    expect(again.checkpoint).toEqual(checkpointOf(200_000));
    await again.incoming[Symbol.asyncDispose]();
    expect(await store.takePartial(digest, 'docker.io')).toBeUndefined();
    expect(store.pendingBytes()).toBe(0);
  });

  test.each([
    { what: 'has no checkpoint', checkpointBytes: 0 },
    { what: 'has changed since its checkpoint', checkpointBytes: 100_000 },
  ])('drops a partial download that $what', async ({ checkpointBytes }) => {
    const { store } = await subject();
    await leave(store, 200_000, { checkpointBytes });
    expect(await store.takePartial(digest, 'docker.io')).toBeUndefined();
    expect(store.pendingBytes()).toBe(0);
  });

  test('restarts a download whose partial file is unusable', async () => {
    const { store } = await subject();
    await leave(store, 200_000);
    const { incoming } = await taken(store);
    await incoming.clear();
    expect(store.pendingBytes()).toBe(0);
    expect(await readFrom(incoming, 0, 10)).toHaveLength(0);
    await incoming.append([bytes]);
    await incoming.commit();
    await incoming[Symbol.asyncDispose]();
    expect(await contentOf(store, digest)).toEqual(bytes);
  });

  test('lets readers of an interrupted download finish, whatever the next attempt does', async () => {
    const { store } = await subject();
    await using former = await store.create(digest, 'docker.io');
    await former.append([bytes.subarray(0, 200_000)]);
    await former.checkpoint(checkpointOf(200_000));
    await former.leave();
    const { incoming } = await taken(store);
    await incoming.clear();
    await incoming.append([Buffer.alloc(200_000)]);
    await incoming[Symbol.asyncDispose]();
    expect(await readFrom(former, 100_000, 1000)).toEqual(bytes.subarray(100_000, 101_000));
    expect(await readFrom(former, 199_999, 1000)).toHaveLength(1);
  });

  test('drops partial downloads, the oldest first: those past the age limit, and as many as space needs', async () => {
    const { store, clock } = await subject();
    const names = ['one', 'two', 'three', 'four'].map((name) => digestOf(Buffer.from(name)));
    for (const name of names) {
      await leave(store, 1000, { blob: name });
      clock.advance(1000);
    }
    const now = clock.now();
    expect(await store.dropPartial({ bytes: 0, leftBeforeMs: now - 4000 })).toBe(0);
    expect(await store.dropPartial({ bytes: 0, leftBeforeMs: now - 3000 })).toBe(1000);
    expect(await store.dropPartial({ bytes: 1001, leftBeforeMs: -Infinity })).toBe(2000);
    expect(store.pendingBytes()).toBe(1000);
    const left = await Promise.all(names.map((name) => store.takePartial(name, 'docker.io')));
    expect(left.map((one) => one !== undefined)).toEqual([false, false, false, true]);
    for (const one of left) await one?.incoming[Symbol.asyncDispose]();
  });

  test('keeps the later of two partial downloads of one blob', async () => {
    const { store } = await subject();
    await leave(store, 200_000);
    await leave(store, 100_000);
    expect(store.pendingBytes()).toBe(100_000);
    const { checkpoint, incoming } = await taken(store);
    expect(checkpoint).toEqual(checkpointOf(100_000));
    await incoming[Symbol.asyncDispose]();
  });
});
