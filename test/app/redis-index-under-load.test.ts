import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { type Content, image, type Image, randomBlob } from '../support/images.ts';
import { pullAll, pullBlob, pullManifest } from '../support/pull.ts';
import { redisTools, startRedis, type TestRedis } from '../support/redis.ts';
import { startSentinels } from '../support/redis-servers.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';
import { describeWithTools } from '../support/tools.ts';

const pollOptions = { timeout: 30_000 };
const pulls = { cached: 400, borrowed: 40, missing: 60 };

/** Servers of Redis, and what happens to them. */
interface Faulty {
  /** The keys that say where they are. */
  readonly keys: MirrorConfig;
  readonly begin: () => Promise<unknown>;
  readonly end: () => Promise<unknown>;
}

function single(faulty: (redis: TestRedis) => Pick<Faulty, 'begin' | 'end'>): () => Promise<Faulty> {
  return async () => {
    const redis = await startRedis();
    return { keys: { url: redis.url }, ...faulty(redis) };
  };
}

async function failingOver(): Promise<Faulty> {
  const sentinels = await startSentinels();
  const places = sentinels.ports.map((port) => `127.0.0.1:${port}`);
  const begin = async () => (await sentinels.primary()).kill();
  return { keys: { sentinels: places, name: 'layers' }, begin, end: async () => {} };
}

const faults: readonly { readonly what: string; readonly start: () => Promise<Faulty> }[] = [
  {
    what: 'hangs',
    start: single((redis) => ({ begin: async () => redis.pause(), end: async () => redis.resume() })),
  },
  { what: 'is killed', start: single((redis) => ({ begin: () => redis.kill(), end: () => redis.start() })) },
  { what: 'is flushed', start: single((redis) => ({ begin: () => redis.flush(), end: async () => {} })) },
  { what: 'is full', start: single((redis) => ({ begin: () => redis.fill(), end: () => redis.empty() })) },
  { what: 'is failed over by its Sentinels', start: failingOver },
];

/** A mirror that has an image whole, and of ten others with the same layers their manifests. */
async function started(keys: MirrorConfig) {
  const upstream = await startFakeRegistry();
  const app = await startApp(mirrorOf(upstream, { index: { driver: 'redis', ...keys } }));
  const held = image({ name: 'held', layers: 19, layerBytes: 20_000 });
  upstream.content.add('whole/app', '1', held);
  await pullAll(app, 'whole/app', '1');
  await app.quiet();
  return { upstream, app, held };
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

/** Of pulls of cached layers, one after the other. */
async function medianMsOf({ app, held }: Pick<Wave, 'app' | 'held'>): Promise<number> {
  const all: number[] = [];
  for (const { digest } of held.blobs) {
    const startedMs = performance.now();
    await pullBlob(app, 'whole/app', digest);
    all.push(performance.now() - startedMs);
  }
  return all.toSorted((a, b) => a - b)[all.length >> 1] ?? Number.NaN;
}

describeWithTools(redisTools, 'with 500 pulls in flight, the Redis of the index', () => {
  test.each(faults)('$what: none fails, and the upstream is asked for what is missing only', async ({ start }) => {
    const { keys, begin, end } = await start();
    const { upstream, app, held } = await started(keys);
    const wave = (name: string) => waveOf({ upstream, app, held, name });
    const expectMissingOnly = () =>
      expect(upstream.requests.map(({ method }) => method)).toEqual(Array.from({ length: pulls.missing }, () => 'GET'));

    const running = (await wave('before'))();
    await begin();
    await running;
    expectMissingOnly();

    await (await wave('meanwhile'))();
    expectMissingOnly();
    expect(await medianMsOf({ app, held })).toBeLessThan(50);

    await end();
    const index = async () => JSON.parse((await ask({ url: app.managementUrl }, '/readyz')).body.toString()).index;
    await expect.poll(index, pollOptions).toBe('ok');
    await expect.poll(async () => (await ask(app, '/v2/_catalog')).status, pollOptions).toBe(200);
    await (await wave('after'))();
    expectMissingOnly();
  });
});
