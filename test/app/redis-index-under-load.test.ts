import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { type Content, image, type Image, randomBlob } from '../support/images.ts';
import { pullAll, pullBlob, pullManifest } from '../support/pull.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const pollOptions = { timeout: 30_000 };
const pulls = { cached: 400, borrowed: 40, missing: 60 };

const faults: readonly {
  readonly what: string;
  readonly begin: (redis: TestRedis) => Promise<unknown>;
  readonly end: (redis: TestRedis) => Promise<unknown>;
}[] = [
  { what: 'hangs', begin: async (redis) => redis.pause(), end: async (redis) => redis.resume() },
  { what: 'is killed', begin: (redis) => redis.kill(), end: (redis) => redis.start() },
  { what: 'is full', begin: (redis) => redis.fill(), end: (redis) => redis.empty() },
];

/** A mirror that has an image whole, and of ten others with the same layers their manifests. */
async function started() {
  const [upstream, redis] = [await startFakeRegistry(), await startRedis()];
  const app = await startApp(mirrorOf(upstream, { index: { driver: 'redis', url: redis.url } }));
  const held = image({ name: 'held', layers: 19, layerBytes: 20_000 });
  upstream.content.add('whole/app', '1', held);
  await pullAll(app, 'whole/app', '1');
  await app.quiet();
  return { upstream, redis, app, held };
}

interface Wave {
  readonly upstream: FakeRegistry;
  readonly app: RunningApp;
  readonly held: Image;
  /** Of the wave: what it borrows and lacks is new. */
  readonly name: string;
}

/** Everything that is pulled at the same time. @returns what does it */
async function waveOf({ upstream, app, held, name }: Wave): Promise<() => Promise<unknown>> {
  const borrowing = [1, 2].map((number) => `half/${name}-${number}`);
  for (const repository of borrowing) {
    upstream.content.add(repository, '1', held);
    await pullManifest(app, repository, '1');
  }
  const missing: readonly Content[] = Array.from({ length: pulls.missing }, (_, number) =>
    randomBlob(20_000, `${name} ${number}`),
  );
  for (const blob of missing) upstream.content.addBlob('new/app', blob);
  upstream.forgetRequests();
  const layerOf = (number: number) => held.blobs[number % held.blobs.length] ?? randomBlob(1);
  return () =>
    Promise.all([
      ...Array.from({ length: pulls.cached }, (_, number) => pullBlob(app, 'whole/app', layerOf(number).digest)),
      ...Array.from({ length: pulls.borrowed }, (_, number) =>
        pullBlob(app, borrowing[number % 2] ?? '', layerOf(number >> 1).digest),
      ),
      ...missing.map(({ digest }) => pullBlob(app, 'new/app', digest)),
    ]);
}

test.each(faults)(
  'with 500 pulls in flight, the Redis of the index $what: none fails, and the upstream is asked for what is missing only',
  async ({ begin, end }) => {
    const { upstream, redis, app, held } = await started();
    const wave = (name: string) => waveOf({ upstream, app, held, name });
    const expectMissingOnly = () =>
      expect(upstream.requests.map(({ method }) => method)).toEqual(Array.from({ length: pulls.missing }, () => 'GET'));

    const running = (await wave('before'))();
    await begin(redis);
    await running;
    expectMissingOnly();

    await (await wave('meanwhile'))();
    expectMissingOnly();

    await end(redis);
    const index = async () => JSON.parse((await ask({ url: app.managementUrl }, '/readyz')).body.toString()).index;
    await expect.poll(index, pollOptions).toBe('ok');
    await expect.poll(async () => (await ask(app, '/v2/_catalog')).status, pollOptions).toBe(200);
    await (await wave('after'))();
    expectMissingOnly();
  },
);
