import { expect, test } from 'vitest';
import { LastUses } from '../../../../src/storage/s3/sweep/last-uses.ts';
import { BucketLayout } from '../../../../src/storage/s3/bucket-layout.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

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
