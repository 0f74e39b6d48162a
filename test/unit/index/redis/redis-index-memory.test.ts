import { expect, test } from 'vitest';
import { digestOf } from '../../../../src/oci/digest.ts';
import { repositoryId } from '../../../support/indexed-image.ts';
import { startRedis } from '../../../support/redis.ts';
import { startRedisIndex } from '../../../support/redis-index.ts';
import { never } from '../../../support/sqlite-index.ts';

test('a blob with one link takes at most 700 bytes of Redis', async () => {
  const redis = await startRedis();
  const { index } = await startRedisIndex(redis.settings, { commandWithinMs: 20_000 });
  await index.completeRebuild({ signal: never });
  const usedBytes = async () => Number(/used_memory:(\d+)/.exec(await redis.ask('INFO', 'memory'))?.[1]);
  const before = await usedBytes();
  const blobs = 10_000;
  for (let number = 0; number < blobs; number += 1) {
    const digest = digestOf(Buffer.from(`blob ${number}`));
    index.recordContent({
      digest,
      size: 10_000_000,
      isManifest: false,
      names: [],
      usedAtMs: 1_800_000_000_000 + number,
    });
    index.recordLink({ repositoryId, kind: 'blob', digest, mediaType: undefined, size: 10_000_000 });
    if (number % 100 === 0) await index.settled({ signal: never });
  }
  await index.settled({ signal: never });
  expect(await index.totals()).toMatchObject({ blobs, records: blobs });
  expect(((await usedBytes()) - before) / blobs).toBeLessThan(700);
});
