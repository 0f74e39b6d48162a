import { expect, test } from 'vitest';
import { BucketStorage } from '../../../../src/storage/s3/bucket-storage.ts';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import { startFakeS3 } from '../../../support/fake-s3.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { MemoryBlobs } from '../../../support/memory-blobs.ts';
import { MemoryRecords } from '../../../support/memory-records.ts';
import { thisTest } from '../../../support/owner.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';
import { RecordingBucketObserver, waiting } from './parts.ts';

async function storage() {
  const s3 = await startFakeS3();
  const bucket = new BucketStorage({
    settings: s3.settings,
    path: await temporaryDirectory(),
    local: {
      store: Object.assign(new MemoryBlobs(), { readAll: async () => undefined }),
      records: new MemoryRecords(),
    },
    memory: new MemoryBudget({ maxBytes: 1024 * 1024 }),
    clock: new ManualClock(),
    observer: Object.assign(new RecordingBucketObserver(), { internalError: () => {} }),
  });
  thisTest(() => bucket.stop(waiting));
  const add = (count: number, startedAtMs: number, prefix: string) => {
    for (let at = 0; at < count; at += 1) {
      const upload = { key: `v1/blobs/${at}`, startedAt: new Date(startedAtMs), parts: new Map<number, Buffer>() };
      s3.uploads.set(`${prefix}${String(at).padStart(6, '0')}`, upload);
    }
  };
  return { s3, bucket, add };
}

test('uploads that never ended are removed behind a thousand that still run', async () => {
  const { s3, bucket, add } = await storage();
  add(1_500, 2_000, 'running');
  add(3, 0, 'zombie');
  await bucket.abortUploads({ ...waiting, startedBeforeMs: 1_000 });
  expect(s3.uploads.size).toBe(1_500);
  expect(s3.count('ListMultipartUploads')).toBe(2);
});

test('ten thousand uploads are looked at at a time, and the next sweep goes on there', async () => {
  const { s3, bucket, add } = await storage();
  add(10_500, 2_000, 'running');
  add(1, 0, 'zombie');
  await bucket.abortUploads({ ...waiting, startedBeforeMs: 1_000 });
  expect([s3.count('ListMultipartUploads'), s3.uploads.size]).toEqual([10, 10_501]);
  await bucket.abortUploads({ ...waiting, startedBeforeMs: 1_000 });
  expect([s3.count('ListMultipartUploads'), s3.uploads.size]).toEqual([11, 10_500]);
});
