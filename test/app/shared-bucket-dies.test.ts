import { expect, test } from 'vitest';
import { startBucket } from '../support/bucket.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { pullAll } from '../support/pull.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { describeWithTools } from '../support/tools.ts';

const repository = 'library/app';

async function uploadsQueued(app: RunningApp): Promise<number> {
  return (await app.metrics()).sum('layerwell_shared_storage_uploads_queued');
}

describeWithTools(['versitygw'], 'a real S3 server', () => {
  test('that dies and comes back fails no pull, and gets what it missed without a restart', async () => {
    const [upstream, bucket] = [await startFakeRegistry(), await startBucket()];
    const { endpoint, pathStyle, bucket: name } = bucket.settings;
    const config = mirrorOf(upstream, { storage: { shared: { bucket: name, endpoint, pathStyle, prefix: 'cache' } } });
    const images = ['1', '2', '3'].map((tag) => ({
      tag,
      image: image({ name: tag, layers: 4, layerBytes: 2_000_000 }),
    }));
    for (const { tag, image: pushed } of images) upstream.content.add(repository, tag, pushed);
    const one = await startApp(config, { clock: new ManualClock(Date.now()) });
    await pullAll(one, repository, '1');
    await one.quiet();
    await expect.poll(() => uploadsQueued(one), { timeout: 30_000 }).toBe(0);

    await bucket.stop();
    await pullAll(one, repository, '2');
    await one.quiet();
    expect(await uploadsQueued(one)).toBeGreaterThan(0);

    await bucket.start();
    await pullAll(one, repository, '3');
    await one.quiet();
    const emptied = async () => {
      one.clock.advance(60_000);
      return uploadsQueued(one);
    };
    await expect.poll(emptied, { timeout: 60_000, interval: 200 }).toBe(0);

    upstream.forgetRequests();
    const two = await startApp(config, { clock: new ManualClock(Date.now()) });
    for (const { tag } of images) await pullAll(two, repository, tag);
    expect(upstream.count('GET', /blobs/)).toBe(0);
  });
});
