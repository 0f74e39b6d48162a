import { describe, expect, test } from 'vitest';
import type { BucketSettings } from '../../src/storage/s3/access/client.ts';
import { startBucket } from '../support/bucket.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { startFakeS3 } from '../support/fake-s3.ts';
import { image } from '../support/images.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { pullAll } from '../support/pull.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { describeWithTools } from '../support/tools.ts';

const repository = 'library/app';

/** A mirror with a bucket of 3 MB, whose sweeps begin when the test says so. */
async function sweepingApp({ bucket, endpoint, pathStyle }: BucketSettings) {
  const upstream = await startFakeRegistry();
  for (const tag of ['1', '2', '3'])
    upstream.content.add(repository, tag, image({ name: tag, layers: 2, layerBytes: 600_000 }));
  const clock = new ManualClock(Date.now());
  const waits: (() => void)[] = [];
  const bucketWait = (_ms: number, signal: AbortSignal) =>
    new Promise<void>((end, fail) => {
      waits.push(end);
      signal.addEventListener('abort', () => fail(new Error('stopped')), { once: true });
    });
  const shared = { bucket, endpoint, pathStyle, maxSize: '3MB' };
  const app = await startApp(mirrorOf(upstream, { storage: { shared } }), { clock, bucketWait });
  const pull = async (tag: string) => {
    await pullAll(app, repository, tag);
    await app.quiet();
    while ((await app.metrics()).sum('layerwell_shared_storage_uploads_queued') > 0);
  };
  /** Time passes, and it looks whether a sweep is due. */
  const look = async (ms: number) => {
    clock.advance(ms);
    waits.splice(0).at(-1)?.();
    await expect.poll(() => waits.length, { timeout: 20_000 }).toBe(1);
    const metrics = await app.metrics();
    return {
      bytes: metrics.sum('layerwell_shared_storage_bytes'),
      objects: metrics.sum('layerwell_shared_storage_objects'),
    };
  };
  return { app, pull, look };
}

function sweepsOfApp(settingsOf: () => Promise<BucketSettings>): void {
  test('metrics say what the bucket holds once it was swept, and it is swept back below its bound', async () => {
    const { pull, look } = await sweepingApp(await settingsOf());
    expect(await look(30_000)).toEqual({ bytes: Number.NaN, objects: Number.NaN });
    await pull('1');
    const first = await look(30_000); // What the bucket held before is not known.
    expect(first.objects).toBe(4); // A manifest, a config and two layers.
    expect(first.bytes).toBeGreaterThan(1_200_000);
    await pull('2');
    expect(await look(30_000)).toEqual(first); // There is room.
    await pull('3');
    const last = await look(30_000);
    expect(last.bytes).toBeGreaterThan(1_200_000);
    expect(last.bytes).toBeLessThanOrEqual(3_000_000);
  });
}

describe('the sweep of a bucket in memory', () => {
  sweepsOfApp(async () => (await startFakeS3()).settings);
});

describeWithTools(['versitygw'], 'the sweep of a bucket of versitygw', () => {
  sweepsOfApp(async () => (await startBucket()).settings);
});
