import { randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import type { RecordKey } from '../../src/mirror/ports/record-store.ts';
import { parseDigest } from '../../src/oci/digest.ts';
import { parseTag } from '../../src/oci/reference.ts';
import type { BucketSettings } from '../../src/storage/s3/access/client.ts';
import { ConditionNotMet } from '../../src/storage/s3/access/calls.ts';
import { BucketContents } from '../../src/storage/s3/sweep/bucket-contents.ts';
import { startBucket } from '../support/bucket.ts';
import { startFakeS3 } from '../support/fake-s3.ts';
import { describeWithTools } from '../support/tools.ts';
import { alpine, bucketParts, other, waiting } from '../unit/storage/s3/parts.ts';
import { keepBlob, keepManifest, uploading } from '../unit/storage/s3/uploading.ts';

const prefixed = { prefix: 'team/layers' };

/** What the mirror needs of a server that speaks S3. */
function bucketContract(settingsOf: () => Promise<BucketSettings>): void {
  test('returns what was put, whole and in ranges, with its size and its time', async () => {
    const { objects } = bucketParts({ ...(await settingsOf()), ...prefixed });
    const bytes = randomBytes(300_000);
    await objects.put('team/layers/v1/x', bytes, waiting);
    const whole = await objects.open('team/layers/v1/x', waiting);
    expect(whole).toMatchObject({ size: 300_000, offset: 0 });
    expect(whole && (await buffer(whole.body)).equals(bytes)).toBe(true);
    for (const [start, end] of [
      [0, 0],
      [1_000, 1_999],
      [299_999, undefined],
    ] as const) {
      const part = await objects.open('team/layers/v1/x', { ...waiting, range: { start, end } });
      expect(part).toMatchObject({ size: 300_000, offset: start });
      expect(part && (await buffer(part.body))).toEqual(bytes.subarray(start, (end ?? 299_999) + 1));
    }
    const facts = await objects.head('team/layers/v1/x', waiting);
    expect(facts?.size).toBe(300_000);
    expect(Math.abs((facts?.modifiedAtMs ?? 0) - Date.now())).toBeLessThan(60_000);
  });

  test('says that an object is not there, and takes that for an answer', async () => {
    const { objects, calls } = bucketParts(await settingsOf());
    expect(await objects.open('v1/absent', waiting)).toBeUndefined();
    expect(await objects.head('v1/absent', waiting)).toBeUndefined();
    await objects.remove('v1/absent', waiting);
    expect([calls.state('read'), calls.state('write')]).toEqual(['closed', 'closed']);
  });

  test('a bucket that is not there is a failure, not a missing object', async () => {
    const { objects, calls } = bucketParts({ ...(await settingsOf()), bucket: 'no-such-bucket' });
    await expect(objects.open('v1/x', waiting)).rejects.toThrow('GetObject');
    expect(calls.state('read')).toBe('refused');
  });

  test('puts an object only if it is new, when asked to', async () => {
    const { objects } = bucketParts(await settingsOf());
    await objects.put('v1/once', Buffer.from('first'), { ...waiting, isNew: true });
    const again = objects.put('v1/once', Buffer.from('second'), { ...waiting, isNew: true });
    await expect(again).rejects.toThrow(ConditionNotMet);
    expect(String(await objects.read('v1/once', { ...waiting, maxBytes: 100 }))).toBe('first');
  });

  test('stores empty objects', async () => {
    const { objects } = bucketParts(await settingsOf());
    await objects.put('v1/empty', Buffer.of(), waiting);
    expect(await objects.read('v1/empty', { ...waiting, maxBytes: 10 })).toHaveLength(0);
  });

  test('lists page by page, in order, only below the prefix', async () => {
    const { objects } = bucketParts(await settingsOf());
    const names = Array.from({ length: 1_100 }, (_, count) => `v1/a/${String(count).padStart(5, '0')}`);
    for (let at = 0; at < names.length; at += 50) {
      await Promise.all(names.slice(at, at + 50).map((name) => objects.put(name, Buffer.from('x'), waiting)));
    }
    await objects.put('v1/b/other', Buffer.from('x'), waiting);
    const pages = await Array.fromAsync(objects.list('v1/a/', waiting));
    expect(pages.length).toBeGreaterThan(1);
    expect(pages.flat().map(({ key }) => key)).toEqual(names);
    expect(pages[0]?.[0]?.size).toBe(1);
  });

  test.each(['when-required', 'when-supported'] as const)(
    'takes content of every size from a local store, with checksums %s',
    async (checksums) => {
      const settings = { ...(await settingsOf()), checksums };
      const set = await uploading({ settings });
      await set.uploads.start();
      const sizes = [0, 1, 5 * 1024 * 1024, 5 * 1024 * 1024 + 1, 17_000_000];
      const contents = sizes.map((size) => randomBytes(size));
      for (const bytes of contents) set.uploads.add((await keepBlob(set, bytes)).key);
      await set.idle();
      expect(set.observer.uploads.filter(({ result }) => result !== 'ok')).toEqual([]);
      const reader = bucketParts(settings);
      for (const bytes of contents) {
        const { digest } = await keepBlob(set, bytes);
        const blob = await reader.cache.openBlob(alpine, digest, waiting);
        expect(blob && (await buffer(blob.body)).equals(bytes)).toBe(true);
        expect(await reader.cache.openBlob(other, digest, waiting)).toBeUndefined();
      }
    },
  );

  test('serves a manifest with the links of its blobs', async () => {
    const settings = await settingsOf();
    const set = await uploading({ settings });
    await set.uploads.start();
    const blob = await keepBlob(set, randomBytes(1_000));
    const manifest = await keepManifest(set, [{ digest: blob.digest, size: 1_000 }]);
    set.uploads.add(blob.key);
    await set.idle(); // A manifest carries the links that are in the bucket when it is uploaded.
    set.uploads.add(manifest.key);
    await set.idle();
    const reader = bucketParts(settings);
    const served = await reader.cache.manifest(alpine, manifest.digest, waiting);
    expect(served?.bytes).toEqual(manifest.bytes);
    expect(reader.links.isKnown(alpine, blob.digest)).toBe(true);
  });

  test('keeps records of every kind under names that lead back to them', async () => {
    const parts = bucketParts({ ...(await settingsOf()), ...prefixed });
    const digest = parseDigest(`sha512:${'cd'.repeat(64)}`);
    const keys: readonly RecordKey[] = [
      { kind: 'blob', repositoryId: alpine, digest },
      { kind: 'manifest', repositoryId: alpine, digest },
      { kind: 'tag', repositoryId: { ...alpine, upstream: '[::1]:5000' }, tag: parseTag('V1.0_-x') },
      { kind: 'visibility', repositoryId: other },
    ];
    for (const [at, key] of keys.entries()) await parts.records.write(key, { firstServedAtMs: at, text: 'ä' }, waiting);
    for (const [at, key] of keys.entries())
      expect(await parts.records.read(key, waiting)).toEqual({ firstServedAtMs: at, text: 'ä' });
    const { records } = new BucketContents(parts, waiting);
    const named = new Set((await Array.fromAsync(records.list())).map((key) => parts.layout.record(key)));
    expect(named).toEqual(new Set(keys.map((key) => parts.layout.record(key))));
    for (const key of keys) await records.remove(key);
    expect(await Array.fromAsync(new BucketContents(parts, waiting).records.list())).toEqual([]);
  });

  test('lists its content with sizes and last uses, and removes it', async () => {
    const settings = await settingsOf();
    const set = await uploading({ settings });
    await set.uploads.start();
    const { digest, key } = await keepBlob(set, randomBytes(1_000));
    set.uploads.add(key);
    await set.idle();
    const { store } = new BucketContents(set, waiting);
    expect(await Array.fromAsync(store.list())).toMatchObject([{ digest, size: 1_000 }]);
    await store.remove(digest);
    await store.remove(digest);
    expect(await Array.fromAsync(store.list())).toEqual([]);
  });

  test('ends uploads that were never completed', async () => {
    const settings = await settingsOf();
    const parts = bucketParts(settings);
    const options = { operation: 'CreateMultipartUpload', kind: 'write', ...waiting } as const;
    await parts.calls.run(options, ({ sdk, client }) =>
      client.send(new sdk.CreateMultipartUploadCommand({ Bucket: settings.bucket, Key: 'v1/blobs/left' })),
    );
    expect(await parts.objects.abortUploads('v1/', { ...waiting, startedBeforeMs: 0 })).toMatchObject({ aborted: 0 });
    expect(await parts.objects.abortUploads('v1/', { ...waiting, startedBeforeMs: Date.now() + 60_000 })).toMatchObject(
      { aborted: 1 },
    );
    expect(await parts.objects.abortUploads('v1/', { ...waiting, startedBeforeMs: Date.now() + 60_000 })).toMatchObject(
      { aborted: 0 },
    );
  });
}

describe('a bucket in memory', () => {
  bucketContract(async () => (await startFakeS3()).settings);
});

describeWithTools(['versitygw'], 'a bucket of versitygw', () => {
  bucketContract(async () => (await startBucket()).settings);
});
