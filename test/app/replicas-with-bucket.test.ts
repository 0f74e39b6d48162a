import { expect, test } from 'vitest';
import { BucketLayout } from '../../src/storage/s3/bucket-layout.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { type FakeS3, startFakeS3 } from '../support/fake-s3.ts';
import { image } from '../support/images.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { pullAll } from '../support/pull.ts';
import { redisTools, startRedis } from '../support/redis.ts';
import type { RunningApp } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';
import { startReplicas } from '../support/start-replicas.ts';
import { describeWithTools } from '../support/tools.ts';

const repository = 'library/app';
const layout = new BucketLayout('');

function sharing(upstream: FakeRegistry, s3: FakeS3): MirrorConfig {
  const { bucket, endpoint, pathStyle } = s3.settings;
  return mirrorOf(upstream, { storage: { shared: { bucket, endpoint, pathStyle } } });
}

async function uploaded(apps: readonly RunningApp[]): Promise<void> {
  for (const app of apps) {
    await app.quiet();
    while ((await app.metrics()).sum('layerwell_shared_storage_uploads_queued') > 0);
  }
}

/** Three replicas with a Redis and a bucket, whose clients have all pulled one image at once. */
async function pulledByAll() {
  const [upstream, s3, redis] = [await startFakeRegistry(), await startFakeS3(), await startRedis()];
  const pushed = image({ layers: 3, layerBytes: 300_000 });
  upstream.content.add(repository, '1', pushed);
  const clock = new ManualClock(Date.now());
  const apps = await startReplicas(3, sharing(upstream, s3), { redis, clock });
  await Promise.all(apps.flatMap((app) => Array.from({ length: 5 }, () => pullAll(app, repository, '1'))));
  await uploaded(apps);
  return { upstream, s3, redis, apps, pushed, clock };
}

describeWithTools(redisTools, 'replicas that share a Redis and a bucket', () => {
  test('an image that all of them pull at once is downloaded and uploaded once', async () => {
    const { upstream, s3, pushed } = await pulledByAll();
    for (const { digest } of pushed.blobs) {
      expect(upstream.count('GET', new RegExp(`/blobs/${digest}`))).toBe(1);
      const puts = s3.requests.filter(({ operation, key }) => operation === 'PutObject' && key === layout.blob(digest));
      expect(puts).toHaveLength(1);
    }
  });

  test('when all replicas and the upstream are gone, a new one serves the image by tag from the bucket, marked stale', async () => {
    const { upstream, s3, redis, apps, pushed, clock } = await pulledByAll();
    await Promise.all(apps.map((app) => app.stop()));
    await upstream.stop();
    clock.advance(3_600_000);
    await redis.flush();
    for (const late of await startReplicas(1, sharing(upstream, s3), { redis, clock })) {
      const { digest, parts } = await pullAll(late, repository, '1');
      expect(digest).toBe(pushed.manifest.digest);
      expect(parts.get(digest)?.cache).toMatch(/stale/);
      const bytes = (await late.metrics()).sum('layerwell_blob_source_bytes_total', { source: 'shared' });
      expect(bytes).toBeGreaterThan(900_000);
    }
  });
});
