import { readdir } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { bytesOnDisk, imageOf, kib, smallThings } from '../support/bounded-store.ts';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { holdRebuild } from '../support/held-rebuild.ts';
import { multiPlatformImage } from '../support/images.ts';
import { pullAll, pullManifest } from '../support/pull.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';

const multi = multiPlatformImage();
const pollOptions = { timeout: 20_000 };

/** A mirror whose index lies in a Redis. */
async function started(more: MirrorConfig = {}) {
  const upstream = await startFakeRegistry();
  const redis = await startRedis();
  const files = new ScriptedFiles();
  const app = await startApp(mirrorOf(upstream, { index: { driver: 'redis', url: redis.url }, ...more }), { files });
  return { upstream, redis, app, files };
}

async function indexState({ managementUrl }: RunningApp): Promise<unknown> {
  return JSON.parse((await ask({ url: managementUrl }, '/readyz')).body.toString()).index;
}

const rebuilds = (app: RunningApp, count: number) =>
  expect.poll(() => app.logLines.filter(({ state }) => state === 'rebuilt').length, pollOptions).toBe(count);
const isRebuilt = (app: RunningApp) => expect.poll(() => indexState(app), pollOptions).toBe('ok');

/** Everything is served, also links that one repository borrows from another. */
async function expectAllServed(app: RunningApp): Promise<void> {
  for (const repository of ['whole/multi', 'half/multi']) {
    const { parts } = await pullAll(app, repository, '1');
    const digests = [multi.manifest, ...multi.children, ...multi.blobs].map(({ digest }) => digest);
    expect([...parts.keys()].toSorted()).toEqual(digests.toSorted());
  }
}

/** A store with an image whole, and in another repository its manifest only; the upstream is down. */
async function cached() {
  const all = await started();
  const { upstream, app } = all;
  for (const repository of ['whole/multi', 'half/multi']) upstream.content.add(repository, '1', multi);
  await pullAll(app, 'whole/multi', '1');
  await pullManifest(app, 'half/multi', '1');
  await app.quiet();
  await upstream.stop();
  return all;
}

test('everything cached is served after a restart with the upstream down, without a rebuild', async () => {
  const { app } = await cached();
  await app.restart();
  expect(app.logLines.filter(({ msg, state }) => msg === 'index' && state === 'rebuilding')).toHaveLength(1);
  await expectAllServed(app);
});

const aways: Record<string, (all: Awaited<ReturnType<typeof cached>>) => Promise<void>> = {
  'is gone': ({ redis }) => redis.kill(),
  hangs: async ({ redis }) => redis.pause(),
  'is gone at the start': async ({ redis, app }) => {
    await redis.kill();
    await app.restart();
  },
  'was flushed, and the view is still being rebuilt': async ({ redis, app, files }) => {
    holdRebuild(files);
    await redis.flush();
    await expect.poll(() => indexState(app), pollOptions).toBe('rebuilding');
  },
  'was flushed before the start, and the view is still being rebuilt': async ({ redis, app, files }) => {
    holdRebuild(files);
    await redis.flush();
    await app.restart();
  },
};

test.each(Object.keys(aways))(
  'everything cached is served while the upstream is down and Redis %s, also what a repository borrows from another',
  async (away) => {
    const all = await cached();
    await aways[away]?.(all);
    await expectAllServed(all.app);
  },
);

test('while Redis is gone, nothing is borrowed from a repository that clients may not read, nor what no manifest names', async () => {
  const { app, upstream, redis } = await cached();
  const upstreams = { 'docker.io': { url: upstream.url, deny: ['whole/*'] } };
  const [child] = multi.children;
  const statusOf = async (repository: string) =>
    (await ask(app, `/v2/${repository}/manifests/${child?.digest}`)).status;
  await redis.kill();
  await app.restart({ ...app.config, upstreams });
  expect(await statusOf('half/multi')).toBe(503);
  await app.restart({ ...app.config, upstreams: { 'docker.io': { url: upstream.url } } });
  expect(await statusOf('other/multi')).toBe(503);
  expect(await statusOf('half/multi')).toBe(200);
});

test('the catalog is whole or 503: while Redis is away or the view is being rebuilt nothing is listed', async () => {
  const { app, redis, files } = await cached();
  const catalog = async () => {
    const { status, headers, body } = await ask(app, '/v2/_catalog');
    return { status, retryAfter: headers['retry-after'], ...JSON.parse(body.toString()) };
  };
  const whole = { status: 200, repositories: ['docker.io/half/multi', 'docker.io/whole/multi'] };
  const unknown = { status: 503, retryAfter: '5', errors: [{ code: 'UNAVAILABLE' }] };
  expect(await catalog()).toMatchObject(whole);
  redis.pause();
  expect(await catalog()).toMatchObject(unknown);
  await redis.kill();
  expect(await catalog()).toMatchObject(unknown);
  const { records: rebuild } = holdRebuild(files);
  await redis.start();
  await expect.poll(() => indexState(app), pollOptions).toBe('rebuilding');
  expect(await catalog()).toMatchObject(unknown);
  rebuild.open();
  await expect.poll(catalog, pollOptions).toMatchObject(whole);
});

const losses: Record<string, (redis: TestRedis) => Promise<void>> = {
  'was flushed': (redis) => redis.flush(),
  'was restarted empty': (redis) => redis.restart(),
};

test.each(Object.keys(losses))(
  'everything cached is served while the upstream is down and Redis %s: the view is rebuilt meanwhile',
  async (loss) => {
    const { app, redis } = await cached();
    await losses[loss]?.(redis);
    await rebuilds(app, 2);
    await expectAllServed(app);
    expect((await app.metrics()).sum('layerwell_cache_objects')).toBe(
      1 + multi.children.length + new Set(multi.blobs.map(({ digest }) => digest)).size,
    );
  },
);

test('everything cached is served by a start without Redis, and the view is rebuilt as soon as it is back', async () => {
  const { app, redis } = await cached();
  await redis.kill();
  await app.restart();
  await pullAll(app, 'whole/multi', '1');
  await redis.start();
  await isRebuilt(app);
  await expectAllServed(app);
});

test('readyz names the state of Redis, and a mirror without it is ready', async () => {
  const { app, redis } = await started();
  const readyz = async () => {
    const { status, body } = await ask({ url: app.managementUrl }, '/readyz');
    return { status, redis: JSON.parse(body.toString()).redis?.index?.state };
  };
  expect(await readyz()).toEqual({ status: 200, redis: 'up' });
  await redis.kill();
  await expect.poll(readyz, pollOptions).toEqual({ status: 200, redis: 'down' });
});

test('a warm pull does not wait for a Redis that hangs', async () => {
  const { app, redis } = await cached();
  redis.pause();
  const startedMs = performance.now();
  for (let pulls = 0; pulls < 20; pulls += 1) await pullAll(app, 'whole/multi', '1');
  expect(performance.now() - startedMs).toBeLessThan(5_000);
  redis.resume();
});

test('the store keeps its bound while Redis is away: first by evicting what was evicted next, then by storing nothing', async () => {
  const { app, upstream, redis } = await started({ storage: { maxSize: '4MiB', minFree: '0B' } });
  const bound = 4 * kib * kib + smallThings;
  const pull = async (from: number, to: number): Promise<void> => {
    for (let number = from; number < to; number += 1) {
      upstream.content.add(`app/${number}`, '1', imageOf(`image ${number}`));
      app.clock.advance(1_000);
      await pullAll(app, `app/${number}`, '1');
      await app.quiet();
      expect(await bytesOnDisk(app.dataDirectory)).toBeLessThan(bound);
    }
  };
  const evicted = async () => (await app.metrics()).sum('layerwell_cache_evicted_bytes_total');
  await pull(0, 10);
  const before = await evicted();
  expect(before).toBeGreaterThan(0);
  await new Promise((resolve) => setTimeout(resolve, 5_500));
  await redis.kill();
  await pull(10, 14);
  const away = await evicted();
  expect(away).toBeGreaterThan(before);
  await pull(14, 30);

  await redis.start();
  await rebuilds(app, 2);
  await pull(30, 40);
  expect(await evicted()).toBeGreaterThan(away);
  await app.quiet();
  const filesInStore = async () => {
    const entries = await readdir(`${app.dataDirectory}/blobs/sha256`, { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).length;
  };
  const uncounted = async () => (await filesInStore()) - (await app.metrics()).sum('layerwell_cache_objects');
  await expect.poll(uncounted, pollOptions).toBe(0);
});
