import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { freePort } from '../support/free-port.ts';
import { randomBlob } from '../support/images.ts';
import { pullBlob } from '../support/pull.ts';
import { redisTools, startRedis, type TestRedis } from '../support/redis.ts';
import { startSentinels } from '../support/redis-servers.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { clusterOf, startReplicas } from '../support/start-replicas.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { describeWithTools } from '../support/tools.ts';

const repository = 'library/app';

/** Adds a new blob to the upstream, and pulls it from each app in turn. @returns how many requests the upstream got for it, and how long the slowest pull took. */
async function pulledByEach(upstream: FakeRegistry, apps: readonly RunningApp[]) {
  const blob = randomBlob(50_000, randomUUID());
  upstream.content.addBlob(repository, blob);
  upstream.forgetRequests();
  let slowestMs = 0;
  for (const app of apps) {
    const startedMs = performance.now();
    await pullBlob(app, repository, blob.digest);
    slowestMs = Math.max(slowestMs, performance.now() - startedMs);
    await app.quiet();
  }
  return { requests: upstream.count('GET', /\/blobs\//), slowestMs };
}

async function redisOf(app: RunningApp): Promise<unknown> {
  const answer = await fetch(`${app.managementUrl}/readyz`);
  expect(answer.status).toBe(200);
  const body: unknown = await answer.json();
  return Object(body)['redis'];
}

const untilUp = (app: RunningApp) =>
  expect.poll(() => redisOf(app), { timeout: 20_000 }).toMatchObject({ cluster: { state: 'up' } });

async function startTwo() {
  const [upstream, redis] = [await startFakeRegistry(), await startRedis()];
  const apps = await startReplicas(2, mirrorOf(upstream), { redis });
  expect((await pulledByEach(upstream, apps)).requests).toBe(1);
  return { upstream, redis, apps };
}

/** Each fault, and what ends it. */
const faults: readonly {
  readonly what: string;
  readonly begin: (redis: TestRedis) => Promise<unknown>;
  readonly end: (redis: TestRedis) => Promise<unknown>;
  /** What readyz says. */
  readonly told: object;
}[] = [
  { what: 'gone', begin: (redis) => redis.kill(), end: (redis) => redis.start(), told: { state: 'down' } },
  {
    what: 'hanging',
    begin: async (redis) => redis.pause(),
    end: async (redis) => redis.resume(),
    told: { state: 'down', reason: 'timeout' },
  },
  { what: 'full', begin: (redis) => redis.fill(), end: (redis) => redis.empty(), told: { state: 'up' } },
  {
    what: 'a replica without its primary',
    begin: async (redis) => redis.ask('REPLICAOF', '127.0.0.1', String(await freePort())),
    end: (redis) => redis.ask('REPLICAOF', 'NO', 'ONE'),
    told: {},
  },
];

describeWithTools(redisTools, 'a Redis that fails', () => {
  test.each(faults)('$what fails no pull, and is shared again without a restart', async ({ begin, end, told }) => {
    const { upstream, redis, apps } = await startTwo();
    await begin(redis);
    for (let i = 0; i < 3; i += 1) {
      const { requests, slowestMs } = await pulledByEach(upstream, apps);
      expect(requests).toBe(2);
      expect(slowestMs).toBeLessThan(5_000);
    }
    for (const app of apps) expect(await redisOf(app)).toMatchObject({ cluster: told });
    await end(redis);
    for (const app of apps) await untilUp(app);
    await expect.poll(async () => (await pulledByEach(upstream, apps)).requests, { timeout: 20_000 }).toBe(1);
  });

  test('while it hangs, fifty pulls of one replica wait for one timeout, not for fifty', async () => {
    const { upstream, redis, apps } = await startTwo();
    const [app] = apps;
    if (!app) throw new Error('not started');
    redis.pause();
    for (let i = 0; i < 50; i += 1) await pulledByEach(upstream, [app]);
    const errors = async (reason: string) =>
      (await app.metrics()).sum('layerwell_redis_errors_total', { connection: 'cluster', reason });
    expect(await errors('timeout')).toBeLessThanOrEqual(3); // The claim, and what was asked at the same time.
    expect(await errors('down')).toBeGreaterThan(50);
  });

  test('flushed: what is cached costs nothing, and what is new is shared', async () => {
    const { upstream, redis, apps } = await startTwo();
    await redis.flush();
    for (const app of apps) expect(await redisOf(app)).toMatchObject({ cluster: { state: 'up' } });
    await expect.poll(async () => (await pulledByEach(upstream, apps)).requests, { timeout: 20_000 }).toBe(1);
  });

  test('away at the start: the mirror starts at once and serves, and finds it later', async () => {
    const [upstream, port] = [await startFakeRegistry(), await freePort()];
    const startedMs = performance.now();
    const apps = await startReplicas(2, mirrorOf(upstream), { redis: { url: `redis://127.0.0.1:${port}` } });
    expect(performance.now() - startedMs).toBeLessThan(5_000);
    expect((await pulledByEach(upstream, apps)).requests).toBe(2);
    expect(await redisOf(apps[0] ?? fail())).toMatchObject({ cluster: { state: 'down', reason: 'connect' } });
    await startRedis({ port });
    for (const app of apps) await untilUp(app);
    await expect.poll(async () => (await pulledByEach(upstream, apps)).requests, { timeout: 20_000 }).toBe(1);
  });

  test('failed over by its Sentinels: the replicas share again through the new primary', async () => {
    const [upstream, sentinels] = [await startFakeRegistry(), await startSentinels()];
    const { place } = sentinels.settings;
    if (place.kind !== 'sentinel') throw new Error('no Sentinels');
    const redis = { sentinels: place.sentinels.map(({ host, port }) => `${host}:${port}`), name: place.name };
    const start = async () => startApp({ ...mirrorOf(upstream), cluster: await clusterOf({ url: '' }, { redis }) });
    const apps = [await start(), await start()];
    for (const app of apps) await untilUp(app);
    await expect.poll(async () => (await pulledByEach(upstream, apps)).requests, { timeout: 20_000 }).toBe(1);
    await (await sentinels.primary()).kill();
    expect((await pulledByEach(upstream, apps)).requests).toBe(2);
    await expect.poll(async () => (await pulledByEach(upstream, apps)).requests, { timeout: 30_000 }).toBe(1);
  });

  test('no secret of Redis or of the cluster is in the log, in metrics, in readyz or in Redis', async () => {
    const passwordFile = join(await temporaryDirectory(), 'password');
    await writeFile(passwordFile, 'wrong-canary');
    const redis = await startRedis({ user: 'layerwell on >canary-password ~* +@all' });
    const upstream = await startFakeRegistry();
    const keys = { redis: { url: redis.url, username: 'layerwell', passwordFile } };
    const secret = 'canary-secret-of-the-cluster-0123456789';
    const app = await startApp({ ...mirrorOf(upstream), cluster: await clusterOf(redis, { ...keys, secret }) });
    expect(await redisOf(app)).toMatchObject({ cluster: { state: 'down', reason: 'auth' } });
    await pulledByEach(upstream, [app]);
    await writeFile(passwordFile, 'canary-password');
    await untilUp(app);
    await pulledByEach(upstream, [app]);
    const login = ['--user', 'layerwell', '--pass', 'canary-password', '--no-auth-warning'];
    const names = (await redis.ask(...login, 'KEYS', '*')).split('\n');
    expect(names.some((name) => name.includes(':holders:'))).toBe(true);
    const values = await Promise.all(names.map((name) => redis.ask(...login, 'DUMP', name)));
    const metrics = await (await fetch(`${app.managementUrl}/metrics`)).text();
    const told = [JSON.stringify(app.logLines), metrics, JSON.stringify(await redisOf(app)), ...names, ...values];
    expect(told.filter((text) => text.includes('canary'))).toEqual([]);
  });
});

function fail(): never {
  throw new Error('not started');
}
