import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import type { BlobStore } from '../../src/mirror/ports/blob-store.ts';
import type { RecordKey } from '../../src/mirror/ports/record-store.ts';
import type { ByteRange } from '../../src/mirror/ports/upstream.ts';
import { type Digest, digestOf } from '../../src/oci/digest.ts';
import { parseTag } from '../../src/oci/reference.ts';
import type { BucketSettings } from '../../src/storage/s3/access/client.ts';
import { BucketContents } from '../../src/storage/s3/sweep/bucket-contents.ts';
import { Upload } from '../../src/storage/s3/uploads/upload.ts';
import { blobPath } from '../../src/storage/layout.ts';
import { startBucket } from '../support/bucket.ts';
import { startFakeS3 } from '../support/fake-s3.ts';
import { fileStores } from '../support/file-stores.ts';
import { gate } from '../support/gate.ts';
import { MemoryRecords } from '../support/memory-records.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { describeWithTools } from '../support/tools.ts';
import { alpine, bucketParts, other, waiting } from '../unit/storage/s3/parts.ts';

/** How a write goes on after its first half. */
interface Writing {
  /** The second half is written once this is there. */
  readonly until?: Promise<unknown>;
  /** Called when the first half is written. */
  readonly onHalf?: () => void;
  /** Ends the write. */
  readonly signal?: AbortSignal;
}

/** What keeps content and records for the mirror, as the mirror uses it: a folder, or a bucket. */
interface Keeper {
  keep(bytes: Buffer, writing?: Writing): Promise<Digest>;
  read(digest: Digest, range?: ByteRange): Promise<Buffer | undefined>;
  /** Whole, and only if the bytes are those of the digest. */
  readVerified(digest: Digest): Promise<Uint8Array | undefined>;
  readonly contents: Pick<BlobStore, 'list' | 'remove'>;
  readonly records: {
    read(key: RecordKey): Promise<unknown>;
    write(key: RecordKey, value: object): Promise<void>;
    remove(key: RecordKey): Promise<void>;
    list(): AsyncIterable<RecordKey>;
  };
  /** Puts other bytes where content is, behind its back. */
  replace(digest: Digest, bytes: Uint8Array): Promise<void>;
}

async function folder(): Promise<Keeper> {
  const path = await temporaryDirectory();
  const { store, records } = fileStores({ path });
  await store.prepare();
  const read = async (digest: Digest, range?: ByteRange) => {
    await using blob = await store.open(digest);
    if (!blob) return undefined;
    const start = range?.start ?? 0;
    const into = Buffer.alloc((range?.end ?? blob.size - 1) + 1 - start);
    return into.subarray(0, await blob.read(into, start));
  };
  return {
    keep: async (bytes, { until, onHalf, signal } = {}) => {
      const digest = digestOf(bytes);
      await using incoming = await store.create(digest, 'docker.io');
      await incoming.append([bytes.subarray(0, bytes.byteLength / 2)]);
      onHalf?.();
      await until;
      signal?.throwIfAborted();
      await incoming.append([bytes.subarray(bytes.byteLength / 2)]);
      await incoming.commit();
      return digest;
    },
    read,
    readVerified: (digest) => store.readAll(digest, 1_000_000),
    contents: store,
    records,
    replace: async (digest, bytes) => {
      await mkdir(dirname(join(path, blobPath(digest))), { recursive: true });
      await writeFile(join(path, blobPath(digest)), bytes);
    },
  };
}

/** Content is kept by an upload from a local store, and read as a source of downloads. */
async function bucket(settings: BucketSettings): Promise<Keeper> {
  const parts = bucketParts(settings);
  const { objects, layout, cache, links } = parts;
  const { records, store } = new BucketContents(parts, waiting);
  return {
    keep: async (bytes, writing = {}) => {
      const digest = digestOf(bytes);
      const key = { kind: 'blob', repositoryId: alpine, digest } as const;
      const local = {
        store: { open: async () => halves(bytes, writing), readAll: async () => undefined },
        records: new MemoryRecords(),
      };
      await local.records.write(key, { firstServedAtMs: 1, size: bytes.byteLength });
      const upload = new Upload({ ...parts, settings, local, onManifest: () => {} });
      await upload.run(key, { signal: writing.signal ?? waiting.signal });
      return digest;
    },
    read: async (digest, range) => {
      links.add(alpine, digest);
      const opened = await cache.openBlob(alpine, digest, { ...waiting, ...(range && { range }) });
      return opened && buffer(opened.body);
    },
    readVerified: async (digest) => {
      await parts.records.write(
        { kind: 'manifest', repositoryId: alpine, digest },
        { mediaType: 'x/y', size: 1, firstServedAtMs: 1 },
        waiting,
      );
      return (await cache.manifest(alpine, digest, waiting))?.bytes;
    },
    contents: store,
    records: {
      read: (key) => parts.records.read(key, waiting),
      write: (key, value) => parts.records.write(key, value, waiting),
      remove: records.remove,
      list: records.list,
    },
    replace: (digest, bytes) => objects.put(layout.blob(digest), bytes, waiting),
  };
}

/** A stored blob whose second half is held. */
function halves(bytes: Buffer, { until, onHalf }: Writing) {
  return {
    size: bytes.byteLength,
    read: async (into: Uint8Array, position: number) => {
      const half = Math.floor(bytes.byteLength / 2);
      if (position < half) return bytes.copy(into, 0, position, half);
      onHalf?.();
      await until;
      return bytes.copy(into, 0, position);
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

/** What the mirror relies on wherever it keeps content. */
function keeperContract(start: () => Promise<Keeper>): void {
  const bytes = randomBytes(300_000);
  const digest = digestOf(bytes);

  test('returns the bytes that were kept, whole and in ranges', async () => {
    const keeper = await start();
    expect(await keeper.keep(bytes)).toBe(digest);
    expect(bytes.equals((await keeper.read(digest)) ?? Buffer.of())).toBe(true);
    for (const [start, end] of [
      [0, 0],
      [1_000, 1_999],
      [299_999, 299_999],
    ] as const)
      expect(await keeper.read(digest, { start, end })).toEqual(bytes.subarray(start, end + 1));
  });

  test('has no content and no record before some was kept, and takes their removal twice', async () => {
    const keeper = await start();
    const key = { kind: 'blob', repositoryId: alpine, digest } as const;
    for (let count = 0; count < 2; count += 1) {
      await keeper.contents.remove(digest);
      await keeper.records.remove(key);
      expect([await keeper.read(digest), await keeper.readVerified(digest), await keeper.records.read(key)]).toEqual([
        undefined,
        undefined,
        undefined,
      ]);
      expect(await Array.fromAsync(keeper.contents.list())).toEqual([]);
    }
  });

  test('shows nothing of content before all of it is written, also where it is written in parts', async () => {
    const keeper = await start();
    const bytes = randomBytes(12 * 1024 * 1024);
    const digest = digestOf(bytes);
    const [half, rest] = [gate(), gate()];
    const kept = keeper.keep(bytes, { onHalf: () => half.open(), until: rest.opened });
    await half.opened;
    expect([await keeper.read(digest), await Array.fromAsync(keeper.contents.list())]).toEqual([undefined, []]);
    rest.open();
    await kept;
    expect((await keeper.read(digest))?.equals(bytes)).toBe(true);
  });

  test('keeps nothing of a write that is abandoned', async () => {
    const keeper = await start();
    const bytes = randomBytes(12 * 1024 * 1024);
    const digest = digestOf(bytes);
    const [half, rest, leaving] = [gate(), gate(), new AbortController()];
    const kept = keeper.keep(bytes, { onHalf: () => half.open(), until: rest.opened, signal: leaving.signal });
    const ended = kept.catch((cause: unknown) => cause);
    await half.opened;
    leaving.abort(new Error('left'));
    rest.open();
    expect(await ended).toMatchObject({ message: 'left' });
    expect([await keeper.read(digest), await Array.fromAsync(keeper.contents.list())]).toEqual([undefined, []]);
    await keeper.keep(bytes);
    expect((await keeper.read(digest))?.equals(bytes)).toBe(true);
  });

  test('takes the same content from several writers at once', async () => {
    const keeper = await start();
    await Promise.all(Array.from({ length: 4 }, () => keeper.keep(bytes)));
    expect((await keeper.read(digest))?.equals(bytes)).toBe(true);
    expect(await Array.fromAsync(keeper.contents.list())).toHaveLength(1);
  });

  test('returns no manifest whose bytes are not those of its digest', async () => {
    const keeper = await start();
    await keeper.keep(bytes);
    expect(await keeper.readVerified(digest)).toEqual(bytes);
    await keeper.replace(digest, Buffer.alloc(bytes.byteLength));
    expect(await keeper.readVerified(digest)).toBeUndefined();
  });

  test('lists all that is kept with its size and time, and no more what was removed', async () => {
    const keeper = await start();
    const contents = Array.from({ length: 20 }, (_, at) => randomBytes(10 + at));
    for (const content of contents) await keeper.keep(content);
    const listed = await Array.fromAsync(keeper.contents.list());
    const sizes = new Map(listed.map((content) => [content.digest, content.size]));
    expect(sizes).toEqual(new Map(contents.map((content) => [digestOf(content), content.byteLength])));
    for (const { modifiedAtMs } of listed) expect(Math.abs(modifiedAtMs - Date.now())).toBeLessThan(60_000);
    for (const content of contents.slice(5)) await keeper.contents.remove(digestOf(content));
    expect(await Array.fromAsync(keeper.contents.list())).toHaveLength(5);
  });

  test('keeps records by their whole key, the last of each, and lists them', async () => {
    const keeper = await start();
    const keys: readonly RecordKey[] = [
      { kind: 'tag', repositoryId: alpine, tag: parseTag('v1') },
      { kind: 'tag', repositoryId: other, tag: parseTag('v1') },
      { kind: 'manifest', repositoryId: alpine, digest },
      { kind: 'blob', repositoryId: alpine, digest },
      { kind: 'visibility', repositoryId: alpine },
    ];
    for (const key of keys) await keeper.records.write(key, { at: 'first' });
    for (const [at, key] of keys.entries()) await keeper.records.write(key, { at, text: 'ä' });
    for (const [at, key] of keys.entries()) expect(await keeper.records.read(key)).toEqual({ at, text: 'ä' });
    const listed = new Set((await Array.fromAsync(keeper.records.list())).map((key) => JSON.stringify(key)));
    expect(listed.size).toBe(keys.length);
    const [gone, ...left] = keys;
    if (gone) await keeper.records.remove(gone);
    expect(await Array.fromAsync(keeper.records.list())).toHaveLength(left.length);
  });
}

describe('content and records on the file system', () => {
  keeperContract(folder);
});

describe('content and records in a bucket in memory', () => {
  keeperContract(async () => bucket((await startFakeS3()).settings));
});

describeWithTools(['versitygw'], 'content and records in a bucket of versitygw', () => {
  keeperContract(async () => bucket((await startBucket()).settings));
});
