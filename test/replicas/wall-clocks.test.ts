import { expect, test } from 'vitest';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { freePort } from '../support/free-port.ts';
import { multiPlatformImage } from '../support/images.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { pullAll } from '../support/pull.ts';
import { redisTools, startRedis } from '../support/redis.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { describeWithTools } from '../support/tools.ts';
import { clusterSecret } from './harness/replicas.ts';

const hourMs = 3_600_000;

describeWithTools(redisTools, 'three replicas, of which two have a clock that is an hour wrong', () => {
  test('share downloads and fresh tags as if it were right, and ask for a tag again when it is no longer fresh', async () => {
    const redis = await startRedis();
    const upstream = await startFakeRegistry();
    const image = multiPlatformImage('clocks');
    upstream.content.add('library/app', '1', image);
    const apps: RunningApp[] = [];
    for (const byMs of [0, hourMs, -hourMs]) {
      const port = await freePort();
      const cluster = {
        redis: { url: redis.url },
        listen: { host: '127.0.0.1', port },
        advertise: `http://127.0.0.1:${port}`,
        secret: clusterSecret,
      };
      const config = { ...mirrorOf(upstream), freshness: { tag: '5m' }, cluster };
      apps.push(await startApp(config, { clock: new ManualClock(Date.UTC(2030, 0, 1) + byMs) }));
    }
    const known = (app: RunningApp) => app.metrics().then((metrics) => metrics.sum('layerwell_cluster_replicas'));
    for (const app of apps) await expect.poll(() => known(app)).toBe(3);

    for (const app of apps) await pullAll(app, 'library/app', '1');
    const digests = [image.manifest, ...image.children, ...image.blobs].map(({ digest }) => digest);
    expect(upstream.count(undefined, /\/manifests\/1$/)).toBe(1);
    for (const digest of digests) expect(upstream.count('GET', new RegExp(`/${digest}$`))).toBeLessThanOrEqual(1);

    for (const app of apps) app.clock.advance(2 * hourMs);
    await redis.flush();
    for (const app of apps) await pullAll(app, 'library/app', '1');
    expect(upstream.count('HEAD', /\/manifests\/1$/)).toBeGreaterThan(0);
    expect(upstream.count('GET', /\/blobs\//)).toBe(image.blobs.length);
  });
});
