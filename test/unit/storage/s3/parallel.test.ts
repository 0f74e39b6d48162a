import { describe, expect, test } from 'vitest';
import { parallel } from '../../../../src/storage/s3/sweep/parallel.ts';
import { LastUses } from '../../../../src/storage/s3/sweep/last-uses.ts';
import { UploadedRecords } from '../../../../src/storage/s3/uploads/uploaded-records.ts';
import { BucketLayout } from '../../../../src/storage/s3/bucket-layout.ts';
import type { RecordKey } from '../../../../src/mirror/ports/record-store.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseTag } from '../../../../src/oci/reference.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { MemoryRecords } from '../../../support/memory-records.ts';
import { alpine } from './parts.ts';

describe('work that runs ahead', () => {
  test('keeps the order, and never runs further ahead than it may', async () => {
    let [running, most] = [0, 0];
    const results: number[] = [];
    const work = async (value: number) => {
      most = Math.max(most, (running += 1));
      for (let turn = 0; turn < 10 - value; turn += 1) await Promise.resolve();
      running -= 1;
      return value;
    };
    for await (const result of parallel([1, 2, 3, 4, 5, 6, 7, 8, 9], 3, work)) results.push(result);
    expect(results).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(most).toBeLessThanOrEqual(3);
  });

  test('fails when the turn of what failed comes, with no unhandled rejection', async () => {
    const work = async (value: number) => {
      if (value === 2) throw new Error('two');
      return value;
    };
    const results: number[] = [];
    const read = async () => {
      for await (const result of parallel([1, 2, 3], 2, work)) results.push(result);
    };
    await expect(read()).rejects.toThrow('two');
    expect(results).toEqual([1]);
  });
});

test('a use is noted once a day, and not for what was uploaded today', () => {
  const clock = new ManualClock();
  const noted: string[] = [];
  const objects = {
    put: async (key: string) => void noted.push(key),
  };
  const layout = new BucketLayout('');
  const uses = new LastUses({ objects, layout, clock });
  const digest = digestOf(Buffer.from('x'));
  const uploadedAtMs = clock.now();
  uses.used(digest, uploadedAtMs);
  expect(noted).toEqual([]);
  clock.advance(25 * 3_600_000);
  for (let read = 0; read < 10; read += 1) uses.used(digest, uploadedAtMs);
  expect(noted).toEqual([layout.used(digest)]);
  clock.advance(25 * 3_600_000);
  uses.used(digest, uploadedAtMs);
  expect(noted).toHaveLength(2);
});

test('a tag is uploaded when it moves, and else about once an hour; links follow their content instead', async () => {
  const clock = new ManualClock();
  const added: RecordKey[] = [];
  const records = new UploadedRecords({
    records: new MemoryRecords(),
    uploads: { add: (key) => added.push(key) },
    clock,
  });
  const key: RecordKey = { kind: 'tag', repositoryId: alpine, tag: parseTag('latest') };
  const [one, two] = [digestOf(Buffer.from('1')), digestOf(Buffer.from('2'))];
  for (let confirmation = 0; confirmation < 20; confirmation += 1) {
    await records.write(key, { digest: one, confirmedAtMs: clock.now() });
    clock.advance(60_000);
  }
  expect(added).toHaveLength(1);
  await records.write(key, { digest: two });
  expect(added).toHaveLength(2);
  clock.advance(3_600_000);
  await records.write(key, { digest: two });
  expect(added).toHaveLength(3);
  await records.write({ kind: 'blob', repositoryId: alpine, digest: one }, { firstServedAtMs: 1 });
  expect(added).toHaveLength(3);
});
