import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { BlobStore, StoredBlob } from '../../src/mirror/ports/blob-store.ts';
import type { ByteSource } from '../../src/mirror/ports/byte-source.ts';
import { type Digest, digestOf, parseDigest } from '../../src/oci/digest.ts';
import { blobStores } from './blob-stores.ts';

const bytes = randomBytes(300_000);
const digest = digestOf(bytes);
const absent = parseDigest(`sha256:${'0'.repeat(64)}`);

async function keep(store: BlobStore, content: Uint8Array = bytes): Promise<Digest> {
  const name = digestOf(content);
  await using incoming = await store.create(name, 'docker.io');
  await incoming.append([content]);
  await incoming.commit();
  return name;
}

async function readFrom(source: Pick<ByteSource, 'read'>, position: number, length: number): Promise<Buffer> {
  const into = Buffer.alloc(length);
  return into.subarray(0, await source.read(into, position));
}

async function opened(store: BlobStore): Promise<StoredBlob> {
  const blob = await store.open(digest, bytes.byteLength);
  if (!blob) throw new Error('it is not stored');
  return blob;
}

async function contentOf(store: BlobStore, name: Digest): Promise<Buffer | undefined> {
  await using blob = await store.open(name);
  return blob && (await readFrom(blob, 0, blob.size));
}

describe.each(blobStores)('a blob store $name', ({ subject }) => {
  test('returns what was committed, from any offset, and nothing at its end', async () => {
    const { store } = await subject();
    await keep(store);

    await using blob = await opened(store);
    expect(blob.size).toBe(bytes.byteLength);
    expect(await readFrom(blob, 0, 1000)).toEqual(bytes.subarray(0, 1000));
    expect(await readFrom(blob, 123_456, 7)).toEqual(bytes.subarray(123_456, 123_463));
    expect(await readFrom(blob, bytes.byteLength - 3, 1000)).toEqual(bytes.subarray(-3));
    expect(await readFrom(blob, bytes.byteLength, 1000)).toHaveLength(0);
  });

  test('shows nothing of a blob before it is committed', async () => {
    const { store } = await subject();
    await using incoming = await store.create(digest, 'docker.io');
    await incoming.append([bytes]);

    expect(await store.open(digest)).toBeUndefined();
    expect(await store.readAll(digest, 1_000_000)).toBeUndefined();
    expect(await Array.fromAsync(store.list())).toEqual([]);
  });

  test('lets a blob be read while it grows, and until it is disposed after the commit', async () => {
    const { store } = await subject();
    await using incoming = await store.create(digest, 'docker.io');
    expect(await readFrom(incoming, 0, 10)).toHaveLength(0);
    await incoming.append([bytes.subarray(0, 10), bytes.subarray(10, 1000)]);
    expect(await readFrom(incoming, 5, 10)).toEqual(bytes.subarray(5, 15));
    expect(await readFrom(incoming, 990, 5000)).toEqual(bytes.subarray(990, 1000));
    await incoming.append([bytes.subarray(1000)]);
    await incoming.commit();
    await store.remove(digest);
    expect(await readFrom(incoming, 200_000, 5000)).toEqual(bytes.subarray(200_000, 205_000));
  });

  test('removes a blob that is abandoned, and no longer counts it', async () => {
    const { store } = await subject();
    const incoming = await store.create(digest, 'docker.io');
    await incoming.append([bytes]);
    expect(store.pendingBytes()).toBe(bytes.byteLength);
    await incoming[Symbol.asyncDispose]();
    await incoming[Symbol.asyncDispose]();

    expect(store.pendingBytes()).toBe(0);
    expect(await store.open(digest)).toBeUndefined();
  });

  test('counts a blob as pending until it is visible', async () => {
    const { store } = await subject();
    await using incoming = await store.create(digest, 'docker.io');
    await incoming.append([bytes.subarray(0, 1000)]);
    expect(store.pendingBytes()).toBe(1000);
    await incoming.append([bytes.subarray(1000)]);
    expect(store.pendingBytes()).toBe(bytes.byteLength);
    await incoming.commit();
    expect(store.pendingBytes()).toBe(0);
  });

  test('does not serve a file whose size differs from its link, reports it, and lets the blob be stored again', async () => {
    const { store, corrupt, replace } = await subject();
    await keep(store);
    await replace(digest, bytes.subarray(0, 1000));

    expect(await store.open(digest, bytes.byteLength)).toBeUndefined();
    expect(corrupt).toEqual([{ digest, source: 'read' }]);
    expect(await store.open(digest)).toBeUndefined();
    expect(store.pendingBytes()).toBe(1000);
    expect(store.isBeingRead(digest)).toBe(false);

    await keep(store);
    expect(await contentOf(store, digest)).toEqual(bytes);
  });

  test('returns a manifest in one piece, verified again', async () => {
    const { store, corrupt, replace } = await subject();
    const manifest = Buffer.from('{"schemaVersion":2}');
    const name = digestOf(manifest);
    await store.put(name, manifest);
    expect(await store.readAll(name, 1000)).toEqual(manifest);

    await replace(name, Buffer.from('{"schemaVersion":3}'));
    expect(await store.readAll(name, 1000)).toBeUndefined();
    expect(corrupt).toEqual([{ digest: name, source: 'read' }]);
    expect(await store.open(name)).toBeUndefined();
  });

  test('verifies sha512 content by sha512', async () => {
    const { store, corrupt, replace } = await subject();
    const name = digestOf(bytes, 'sha512');
    await store.put(name, bytes);
    expect(await store.readAll(name, bytes.byteLength)).toEqual(bytes);
    await replace(name, bytes.subarray(1));
    expect(await store.readAll(name, bytes.byteLength)).toBeUndefined();
    expect(corrupt).toEqual([{ digest: name, source: 'read' }]);
  });

  test('returns nothing that is larger than requested, and leaves it in place', async () => {
    const { store, corrupt } = await subject();
    await keep(store);
    expect(await store.readAll(digest, bytes.byteLength - 1)).toBeUndefined();
    expect(corrupt).toEqual([]);
    expect(await contentOf(store, digest)).toEqual(bytes);
  });

  test('quarantines what another part found damaged, and names that part', async () => {
    const { store, corrupt } = await subject();
    await keep(store);
    await store.quarantine(absent, 'scrub');
    expect(corrupt).toEqual([]);

    await store.quarantine(digest, 'scrub');
    expect(corrupt).toEqual([{ digest, source: 'scrub' }]);
    expect(await store.open(digest)).toBeUndefined();
    expect(store.pendingBytes()).toBe(bytes.byteLength);
    expect(store.isBeingRead(digest)).toBe(false);
  });

  test('stores empty content', async () => {
    const { store } = await subject();
    const name = await keep(store, new Uint8Array());
    expect(await store.readAll(name, 10)).toHaveLength(0);
    await using blob = await store.open(name, 0);
    expect(blob?.size).toBe(0);
  });

  test('reports content that was never stored as absent', async () => {
    const { store } = await subject();
    expect(await store.open(absent)).toBeUndefined();
    expect(await store.open(absent, 10)).toBeUndefined();
    expect(await store.readAll(absent, 10)).toBeUndefined();
  });

  test('removes content, and may be asked to do so twice', async () => {
    const { store } = await subject();
    await keep(store);
    await store.remove(digest);
    await store.remove(digest);
    expect(await store.open(digest)).toBeUndefined();
  });

  test('lets a reader finish when its blob is removed', async () => {
    const { store } = await subject();
    await keep(store);
    await using blob = await store.open(digest);
    await store.remove(digest);
    expect(blob && (await readFrom(blob, 0, bytes.byteLength))).toEqual(bytes);
  });

  test('knows which blobs are being read', async () => {
    const { store } = await subject();
    await keep(store);
    expect(store.isBeingRead(digest)).toBe(false);
    const first = await store.open(digest);
    const second = await store.open(digest);
    expect(store.isBeingRead(digest)).toBe(true);
    expect(store.isBeingRead(absent)).toBe(false);
    await first?.[Symbol.asyncDispose]();
    await first?.[Symbol.asyncDispose]();
    expect(store.isBeingRead(digest)).toBe(true);
    await second?.[Symbol.asyncDispose]();
    expect(store.isBeingRead(digest)).toBe(false);
    await store.open(absent);
    expect(store.isBeingRead(absent)).toBe(false);
  });

  test('accepts the same blob from several writers at once', async () => {
    const { store } = await subject();
    await Promise.all(Array.from({ length: 8 }, () => keep(store)));
    expect(await contentOf(store, digest)).toEqual(bytes);
    expect(store.pendingBytes()).toBe(0);
  });

  test('accepts many blobs at once', async () => {
    const { store } = await subject();
    const contents = Array.from({ length: 60 }, (_, size) => randomBytes(size * 100));
    await Promise.all(contents.map((content) => keep(store, content)));
    expect(await Promise.all(contents.map((content) => contentOf(store, digestOf(content))))).toEqual(contents);
    expect(store.pendingBytes()).toBe(0);
  });

  test('lists what is stored, with size and time', async () => {
    const { store } = await subject();
    const contents = [bytes, randomBytes(10), randomBytes(20)];
    for (const content of contents) await keep(store, content);
    const big = digestOf(bytes, 'sha512');
    await store.put(big, bytes);
    await using incoming = await store.create(absent, 'docker.io');
    await incoming.append([bytes]);

    const listed = await Array.fromAsync(store.list());
    const expected = new Map(contents.map((content) => [digestOf(content), content.byteLength]));
    expect(new Map(listed.map(({ digest: name, size }) => [name, size]))).toEqual(expected.set(big, bytes.byteLength));
    expect(listed).toHaveLength(4);
    for (const { modifiedAtMs } of listed) expect(Math.abs(modifiedAtMs - Date.now())).toBeLessThan(60_000);
  });

  test('reports the free space', async () => {
    const { store } = await subject();
    expect((await store.freeSpace()).bytes).toBeGreaterThan(1_000_000);
  });
});
