import { beforeAll, describe, expect, test } from 'vitest';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { type Owner, thisSuite, thisTest } from '../support/owner.ts';
import { redisTools, startRedis, type TestRedis } from '../support/redis.ts';
import { startSentinels } from '../support/redis-servers.ts';
import { describeWithTools } from '../support/tools.ts';
import { isAskedOnce, type NamedImage, publish, pullInTurn, pullMany } from './harness/load.ts';
import { haveMet, type Replicas, type ReplicasOptions, startReplicas } from './harness/replicas.ts';

interface Scene {
  readonly upstream: FakeRegistry;
  readonly replicas: Replicas;
  /** Every replica has them. */
  readonly cached: readonly NamedImage[];
}

async function startScene(redis: ReplicasOptions['redis'], owner: Owner): Promise<Scene> {
  const upstream = await startFakeRegistry({ owner });
  const replicas = await startReplicas({ upstream, redis, owner });
  const cached = publish(upstream, 'cached', 10);
  for (const { mirror } of replicas.all) expect((await pullMany(mirror.url, cached, 10)).failures).toEqual([]);
  await haveMet(replicas);
  return { upstream, replicas, cached };
}

/** 500 pulls are in flight when `breaks` runs: half of cached images, half of images that only the upstream has. */
async function pullThrough(scene: Scene, name: string, breaks: () => Promise<void>): Promise<void> {
  const { upstream, replicas, cached } = scene;
  upstream.clearScripts();
  upstream.forgetRequests();
  const missing = publish(upstream, `missing-${name}`, 50);
  const held = gate();
  upstream.script(
    { method: 'GET', path: /\/v2\/missing-.*\/blobs\// },
    { holdBody: { afterBytes: 1_000, until: held } },
  );
  const inFlight = pullMany(replicas.url, missing, 250);
  await upstream.arrived('GET', /\/v2\/missing-.*\/blobs\//, 20);
  const ofCached = pullMany(replicas.url, cached, 250);
  await breaks();
  held.open();
  expect((await inFlight).failures).toEqual([]);
  expect((await ofCached).failures).toEqual([]);
}

/** Cached images and new ones are served as if there were no cluster. */
async function expectServing({ upstream, replicas, cached }: Scene, name: string): Promise<void> {
  expect((await pullMany(replicas.url, publish(upstream, `later-${name}`, 10), 30)).failures).toEqual([]);
  const warm = await pullInTurn(replicas.url, cached, 60);
  expect(warm.failures).toEqual([]);
  expect(warm.medianMs).toBeLessThan(50);
}

/** Replicas share their work again, without a restart. */
async function expectSharing({ upstream, replicas }: Scene, name: string): Promise<void> {
  let attempt = 0;
  const isShared = () => isAskedOnce(replicas.url, upstream, `again-${name}-${(attempt += 1)}`);
  await expect.poll(isShared, { timeout: 30_000, interval: 500 }).toBe(true);
}

const faults: Readonly<
  Record<string, { breaks(redis: TestRedis): Promise<void>; mends(redis: TestRedis): Promise<void> }>
> = {
  killed: { breaks: (redis) => redis.kill(), mends: (redis) => redis.start() },
  'that hangs': { breaks: async (redis) => redis.pause(), mends: async (redis) => redis.resume() },
  flushed: { breaks: (redis) => redis.flush(), mends: async () => {} },
  'that is full': { breaks: (redis) => redis.fill(), mends: (redis) => redis.empty() },
};

describeWithTools(redisTools, '500 pulls in flight through three replicas', () => {
  describe('on one Redis', () => {
    const owner = thisSuite();
    let [redis, scene]: [TestRedis | undefined, Scene | undefined] = [undefined, undefined];
    beforeAll(async () => {
      redis = await startRedis({ owner });
      scene = await startScene(redis, owner);
    });

    test.each(Object.keys(faults))(
      'a Redis %s fails none of them, and replicas share their work again',
      async (name) => {
        const fault = faults[name];
        if (!fault || !redis || !scene) throw new Error(name);
        const server = redis;
        const word = name.split(' ').at(-1) ?? '';
        await pullThrough(scene, word, () => fault.breaks(server));
        await expectServing(scene, word);
        await fault.mends(server);
        await expectSharing(scene, word);
      },
    );
  });

  test('a Redis whose Sentinels fail over fails none of them, and replicas share their work again', async () => {
    const sentinels = await startSentinels();
    const { place } = sentinels.settings;
    if (place.kind !== 'sentinel') throw new Error(place.kind);
    const addresses = place.sentinels.map(({ host, port }) => `${host}:${port}`);
    const scene = await startScene({ config: { sentinels: addresses, name: place.name } }, thisTest);
    const primary = await sentinels.primary();
    await pullThrough(scene, 'failover', () => primary.kill());
    await expectServing(scene, 'failover');
    await expectSharing(scene, 'failover');
  });
});
