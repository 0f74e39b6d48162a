import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { RecordKey } from '../../../../src/mirror/ports/record-store.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseTag } from '../../../../src/oci/reference.ts';
import { startFakeS3 } from '../../../support/fake-s3.ts';
import { alpine, bucketParts, other, waiting } from './parts.ts';
import { keepBlob, keepManifest, uploading } from './uploading.ts';

describe('uploads', () => {
  test('content comes first, then its link', async () => {
    const setup = await uploading();
    await setup.uploads.start();
    const bytes = randomBytes(100_000);
    const { digest, key } = await keepBlob(setup, bytes);
    setup.uploads.add(key);
    await setup.idle();

    expect(setup.s3.story).toEqual([
      `HeadObject ${setup.layout.blob(digest)}`,
      `PutObject ${setup.layout.blob(digest)}`,
      `PutObject ${setup.layout.record(key)}`,
    ]);
    expect(setup.s3.objects.get(setup.layout.blob(digest))).toEqual(bytes);
    expect(setup.observer.uploads).toEqual([{ result: 'ok', bytes: 100_000 }]);
  });

  test('a large blob is sent in parts, few at a time, within its share of the memory budget', async () => {
    const setup = await uploading();
    await setup.uploads.start();
    const bytes = randomBytes(23 * 1024 * 1024);
    const { digest, key } = await keepBlob(setup, bytes);
    let [running, most] = [0, 0];
    setup.s3.script = ({ operation }) => {
      if (operation !== 'UploadPart') return undefined;
      most = Math.max(most, (running += 1));
      const until = sleep(5).then(() => (running -= 1));
      return { kind: 'held', until };
    };
    let mostReserved = 0;
    const watching = setInterval(() => (mostReserved = Math.max(mostReserved, setup.memory.reservedBytes)), 1);
    setup.uploads.add(key);
    await setup.idle();
    clearInterval(watching);

    expect(setup.s3.count('UploadPart')).toBe(5);
    expect(most).toBeLessThanOrEqual(2);
    expect(mostReserved).toBe(20 * 1024 * 1024);
    expect(setup.memory.reservedBytes).toBe(0);
    expect(setup.s3.objects.get(setup.layout.blob(digest))?.equals(bytes)).toBe(true);
  });

  test('content that the bucket has is not sent again, also for another repository', async () => {
    const setup = await uploading();
    await setup.uploads.start();
    const bytes = randomBytes(1_000);
    const first = await keepBlob(setup, bytes);
    const second = await keepBlob(setup, bytes, other);
    setup.uploads.add(first.key);
    await setup.idle();
    setup.uploads.add(second.key);
    await setup.idle();

    expect(
      setup.s3.requests.filter(({ operation, key }) => operation === 'PutObject' && key.includes('v1/blobs')),
    ).toHaveLength(1);
    expect(setup.s3.objects.has(setup.layout.record(second.key))).toBe(true);
    expect(setup.observer.uploads.map(({ result }) => result)).toEqual(['ok', 'present']);
  });

  test('two replicas that upload the same blob do no harm', async () => {
    const one = await uploading();
    const two = await uploading({ s3: one.s3, local: one.local });
    const bytes = randomBytes(12_000_000);
    const { digest, key } = await keepBlob(one, bytes);
    await Promise.all([one.uploads.start(), two.uploads.start()]);
    one.uploads.add(key);
    two.uploads.add(key);
    await Promise.all([one.idle(), two.idle()]);
    expect(one.s3.objects.get(one.layout.blob(digest))?.equals(bytes)).toBe(true);
    expect(one.s3.uploads.size).toBe(0);
    expect([...one.observer.uploads, ...two.observer.uploads].every(({ result }) => result !== 'failed')).toBe(true);
  });

  test('a damaged local file never becomes an object, and leaves no parts behind', async () => {
    const setup = await uploading();
    await setup.uploads.start();
    const bytes = randomBytes(12_000_000);
    const digest = digestOf(bytes);
    const damaged = Buffer.from(bytes);
    damaged[11_999_999] = (damaged[11_999_999] ?? 0) ^ 1;
    await setup.local.store.put(digest, damaged);
    const key: RecordKey = { kind: 'blob', repositoryId: alpine, digest };
    await setup.local.records.write(key, { size: bytes.byteLength, firstServedAtMs: 1 });
    setup.uploads.add(key);
    await setup.idle();

    expect(setup.s3.objects.size).toBe(0);
    expect(setup.s3.uploads.size).toBe(0);
    expect(setup.observer.uploads).toMatchObject([{ result: 'failed' }]);
  });

  test('the record of a manifest carries the links to its blobs once they are in the bucket', async () => {
    const setup = await uploading();
    await setup.uploads.start();
    const bytes = randomBytes(1_000);
    const blob = await keepBlob(setup, bytes);
    const manifest = await keepManifest(setup, [{ digest: blob.digest, size: 1_000 }]);
    setup.uploads.add({ kind: 'blob', repositoryId: alpine, digest: manifest.digest });
    await setup.idle();
    setup.uploads.add(blob.key);
    await setup.idle();

    const another = bucketParts(setup.s3.settings);
    await another.cache.manifest(alpine, manifest.digest, waiting);
    expect(another.links.isKnown(alpine, blob.digest)).toBe(true);
  });

  test('content whose bytes in the bucket were wrong is sent again', async () => {
    const setup = await uploading();
    await setup.uploads.start();
    const bytes = randomBytes(1_000);
    const { digest, key } = await keepBlob(setup, bytes);
    setup.s3.objects.set(setup.layout.blob(digest), randomBytes(1_000));
    setup.cache.failedVerification(digest);
    setup.uploads.add(key);
    await setup.idle();
    expect(setup.s3.objects.get(setup.layout.blob(digest))).toEqual(bytes);
    expect(setup.cache.isDistrusted(digest)).toBe(false);
  });

  test('what was evicted before its turn is left out', async () => {
    const setup = await uploading();
    await setup.uploads.start();
    setup.uploads.add({ kind: 'blob', repositoryId: alpine, digest: digestOf(randomBytes(3)) });
    await expect.poll(() => setup.pauses.length).toBe(1);
    setup.pauses[0]?.end();
    await setup.idle();
    expect(setup.observer.uploads).toEqual([{ result: 'gone', bytes: 0 }]);
    expect(setup.s3.requests).toEqual([]);
  });

  test('a tag is uploaded as it is when its turn comes', async () => {
    const setup = await uploading();
    const key: RecordKey = { kind: 'tag', repositoryId: alpine, tag: parseTag('3.20') };
    await setup.local.records.write(key, { tag: '3.20', digest: digestOf(Buffer.from('1')) });
    setup.uploads.add(key);
    setup.uploads.add(key);
    await setup.local.records.write(key, { tag: '3.20', digest: digestOf(Buffer.from('2')) });
    await setup.uploads.start();
    await setup.idle();
    expect(setup.s3.count('PutObject')).toBe(1);
    expect(setup.s3.objects.get(setup.layout.record(key))?.toString()).toContain(digestOf(Buffer.from('2')));
  });

  test('objects are written with the encryption and the checksums that are configured', async () => {
    const s3 = await startFakeS3();
    const encryption = { serverSideEncryption: 'aws:kms', kmsKeyId: 'alias/layers' } as const;
    const settings = { ...s3.settings, ...encryption, checksums: 'when-supported' } as const;
    const setup = await uploading({ s3, settings });
    await setup.uploads.start();
    for (const size of [1_000, 6_000_000]) setup.uploads.add((await keepBlob(setup, randomBytes(size))).key);
    await setup.idle();
    const written = s3.requests.filter(({ operation }) => /^(PutObject|CreateMultipartUpload)$/.test(operation));
    expect(written).toHaveLength(4);
    for (const { headers } of written) {
      expect(headers['x-amz-server-side-encryption']).toBe('aws:kms');
      expect(headers['x-amz-server-side-encryption-aws-kms-key-id']).toBe('alias/layers');
    }
    for (const { headers } of s3.requests.filter(({ operation }) => operation === 'UploadPart'))
      expect(headers['x-amz-checksum-crc32'] ?? headers['x-amz-trailer']).toBeDefined();
  });
});
