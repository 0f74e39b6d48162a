import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { image, randomBlob } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { redisTools, startRedis } from '../support/redis.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { clusterOf } from '../support/start-replicas.ts';
import { describeWithTools } from '../support/tools.ts';

const repository = 'library/app';

const servedToSiblings = async (app: RunningApp) =>
  (await app.metrics()).sum('layerwell_sibling_requests_served_total', { kind: 'blob' });

const withCluster = (upstream: FakeRegistry, cluster: object) => startApp({ ...mirrorOf(upstream), cluster });

describeWithTools(redisTools, 'replicas whose Redis says what is not so', () => {
  test('a replica that was killed in a download and started again at once does not wait for itself', async () => {
    const [upstream, redis] = [await startFakeRegistry(), await startRedis()];
    const cluster = await clusterOf(redis);
    const app = await withCluster(upstream, cluster);
    const blob = randomBlob(1_000);
    upstream.content.addBlob(repository, blob);
    const before = `before ${String(cluster['advertise'])}`;
    await redis.ask('ZADD', 'layerwell:v1:cluster:replicas', String(Date.now() + 15_000), before);
    const lease = `before token ${String(cluster['advertise'])} ${repository}`;
    await redis.ask('SET', `layerwell:v1:cluster:{docker.io/${blob.digest}}:lease`, lease);
    const { body } = await ask(app, `/v2/${repository}/blobs/${blob.digest}`);
    expect(body.equals(blob.bytes)).toBe(true);
    expect(await servedToSiblings(app)).toBe(0);
  });

  test('two replicas that advertise the same address by mistake serve every pull, each by itself', async () => {
    const [upstream, redis] = [await startFakeRegistry(), await startRedis()];
    const right = await clusterOf(redis);
    const apps = [
      await withCluster(upstream, right),
      await withCluster(upstream, { ...(await clusterOf(redis)), advertise: right['advertise'] }),
    ];
    const pushed = image({ layers: 2, layerBytes: 100_000 });
    upstream.content.add(repository, 'latest', pushed);
    for (const app of apps) await pullAll(app, repository, 'latest');
    for (const app of apps) expect(await servedToSiblings(app)).toBe(0);
  });
});
