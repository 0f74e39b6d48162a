import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { startFakeRegistry } from '../../support/fake-registry.ts';
import { startFakeS3 } from '../../support/fake-s3.ts';
import { image } from '../../support/images.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { get, pullAll } from '../../support/pull.ts';
import { redisTools, startRedis } from '../../support/redis.ts';
import type { RunningApp } from '../../support/start-app.ts';
import { mirrorOf } from '../../support/start-mirror.ts';
import { startReplicas } from '../../support/start-replicas.ts';
import { describeWithTools } from '../../support/tools.ts';
import { type Prometheus, startPrometheus } from './prometheus.ts';

const dashboardFile = 'charts/layerwell/dashboards/layerwell.json';
const dashboard = z.object({
  panels: z.array(z.object({ title: z.string(), targets: z.array(z.object({ expr: z.string() })).default([]) })),
});
const repositories = Array.from({ length: 12 }, (_, place) => `library/app-${place}`);
/** Pulls of each image after the first. */
const pullsAgain = 4;

/** What a client that pulls knows of the cache. */
class Load {
  readonly #app: RunningApp;
  readonly #pulled = new Map<string, number>();
  requests = 0;
  hits = 0;
  blobBytes = 0;
  missedBlobBytes = 0;

  constructor(app: RunningApp) {
    this.#app = app;
  }

  /** What is pulled again from a repository is a hit. */
  async pull(repository: string): Promise<void> {
    const { digest: root, parts } = await pullAll(this.#app, repository, '1');
    for (const [digest, { bytes }] of parts) {
      const key = `${repository}@${digest}`;
      const isHit = this.#pulled.has(key);
      this.#pulled.set(key, bytes.length);
      this.requests += 1;
      if (isHit) this.hits += 1;
      if (digest === root) continue;
      this.blobBytes += bytes.length;
      if (!isHit) this.missedBlobBytes += bytes.length;
    }
  }

  get hitRatio(): number {
    return this.hits / this.requests;
  }

  get byteHitRatio(): number {
    return 1 - this.missedBlobBytes / this.blobBytes;
  }
}

/** Two replicas with Redis and a bucket, each a job of its own in Prometheus, which has scraped both. */
async function started() {
  const [upstream, s3, redis] = [await startFakeRegistry(), await startFakeS3(), await startRedis()];
  upstream.content.manifestHeaders = { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '76;w=21600' };
  for (const repository of repositories)
    upstream.content.add(repository, '1', image({ name: repository, layerBytes: 50_000 }));
  const { bucket, endpoint, pathStyle } = s3.settings;
  const config = mirrorOf(upstream, { storage: { shared: { bucket, endpoint, pathStyle } } });
  const clock = new ManualClock(Date.now());
  const [first, second] = await startReplicas(2, config, { redis, clock });
  if (!first || !second) throw new Error('there are two replicas');
  const prometheus = await startPrometheus({ loaded: [first.managementUrl], other: [second.managementUrl] });
  await expect.poll(() => prometheus.values('layerwell_draining')).toEqual([0, 0]);
  return { upstream, redis, clock, first, second, prometheus };
}

/** Resolves when a recorded series was computed from all of the load. */
async function recorded(prometheus: Prometheus, series: string, { requests }: Load): Promise<number> {
  const all = 'sum(layerwell_http_requests_total{job="loaded",kind=~"manifest|blob",cache!="none"})';
  await expect.poll(() => prometheus.values(all)).toEqual([requests]);
  const seenAt = await prometheus.value('vector(time())');
  const timestamp = () => prometheus.value(`timestamp(${series}{job="loaded"})`);
  await expect.poll(timestamp).toBeGreaterThan(seenAt + 1);
  return prometheus.value(`${series}{job="loaded"}`);
}

/** What the second replica and failures add, for the panels. */
async function causeEverything({
  upstream,
  redis,
  clock,
  first,
  second,
}: Awaited<ReturnType<typeof started>>): Promise<void> {
  const [repository = ''] = repositories;
  await pullAll(second, repository, '1');
  upstream.script({ path: /\/manifests\//, times: 1 }, { status: 503 });
  await get(first, '/v2/library/none/manifests/1');
  clock.advance(3_600_000);
  await redis.flush(); // Its time goes on as always: what it knows of the tag would still be fresh.
  await pullAll(first, repository, '1');
}

describeWithTools(['prometheus', ...redisTools], 'a real Prometheus', () => {
  test('records the hit ratios that the clients know, and every query of the dashboard returns data', async () => {
    const running = await started();
    const { first, prometheus } = running;
    const load = new Load(first);
    for (let pulls = 0; pulls <= pullsAgain; pulls += 1) {
      await Promise.all(repositories.map((repository) => load.pull(repository)));
    }
    expect(load.hitRatio).toBeCloseTo(pullsAgain / (pullsAgain + 1), 2);
    const hitRatio = await recorded(prometheus, 'layerwell:hit_ratio:rate5m', load);
    expect(Math.abs(hitRatio - load.hitRatio)).toBeLessThan(0.01);
    const byteHitRatio = await recorded(prometheus, 'layerwell:byte_hit_ratio:rate30m', load);
    expect(Math.abs(byteHitRatio - load.byteHitRatio)).toBeLessThan(0.01);

    await causeEverything(running);
    for (const query of dashboardQueries()) {
      const values = () => prometheus.values(query).then((all) => all.filter((value) => !Number.isNaN(value)).length);
      await expect.poll(values, { message: query }).toBeGreaterThan(0);
    }
    expect(await prometheus.failedRules()).toEqual([]);
    expect(await prometheus.values('ALERTS{alertstate="firing"}')).toEqual([]);
  });
});

/** Of all panels, as Grafana sends them when everything is chosen. */
function dashboardQueries(): readonly string[] {
  const { panels } = dashboard.parse(JSON.parse(readFileSync(dashboardFile, 'utf8')));
  return panels
    .flatMap(({ targets }) => targets)
    .map(({ expr }) =>
      expr
        .replaceAll(/\$(job|instance)/g, '.*')
        .replaceAll('$__rate_interval', '1m')
        .replaceAll('$__range', '5m'),
    );
}

test('the dashboard answers five questions, in less than 200 kB', () => {
  const text = readFileSync(dashboardFile, 'utf8');
  const { panels } = dashboard.parse(JSON.parse(text));
  const rows = panels.filter(({ targets }) => targets.length === 0).map(({ title }) => title);
  expect(rows).toEqual([
    'Does it save?',
    'Is it healthy?',
    'Who pulls what?',
    'What does it cost upstream?',
    'Replicas',
  ]);
  expect(Buffer.byteLength(text)).toBeLessThan(200_000);
});
