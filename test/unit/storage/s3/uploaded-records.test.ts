import { expect, test } from 'vitest';
import { UploadedRecords } from '../../../../src/storage/s3/uploads/uploaded-records.ts';
import type { RecordKey } from '../../../../src/mirror/ports/record-store.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseTag } from '../../../../src/oci/reference.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { MemoryRecords } from '../../../support/memory-records.ts';
import { alpine } from './parts.ts';

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
