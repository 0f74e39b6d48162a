import { beforeAll, expect, test } from 'vitest';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { type S3Fault, startFakeS3 } from '../support/fake-s3.ts';
import { gate } from '../support/gate.ts';
import { type Owner, thisSuite } from '../support/owner.ts';
import { redisTools, startRedis } from '../support/redis.ts';
import { describeWithTools } from '../support/tools.ts';
import { type Bucket, bucketEnvironment, bucketTools, startBucket } from './harness/bucket.ts';
import { type NamedImage, publish, pullInTurn, pullMany } from './harness/load.ts';
import { haveMet, portOf, type Replicas, startReplicas } from './harness/replicas.ts';

interface Scene {
  readonly upstream: FakeRegistry;
  readonly replicas: Replicas;
  readonly bucket: Bucket;
  /** Every replica has them. */
  readonly cached: readonly NamedImage[];
}

async function startScene(owner: Owner): Promise<Scene> {
  const [redis, bucket] = [await startRedis({ owner }), await startBucket(owner)];
  const upstream = await startFakeRegistry({ owner });
  const config = { storage: { shared: bucket.section } };
  const replicas = await startReplicas({ upstream, redis, linked: 1, config, env: bucketEnvironment, owner });
  const cached = publish(upstream, 'cached', 10);
  for (const { mirror } of replicas.all) expect((await pullMany(mirror.url, cached, 10)).failures).toEqual([]);
  await haveMet(replicas);
  return { upstream, replicas, bucket, cached };
}

/** Answers every request with this error from now on. */
function answering(fault: S3Fault) {
  return async ({ link }: Bucket): Promise<void> => {
    const other = await startFakeS3();
    other.script = () => fault;
    link.redirectTo([portOf(other.url)]);
  };
}

const faults: Readonly<Record<string, (bucket: Bucket) => Promise<void>>> = {
  'with a latency of 2 s': async ({ link }) => link.fail({ latencyMs: 1_000 }),
  'that sends 100 kB a second': async ({ link }) => link.fail({ bytesPerSecond: 100_000 }),
  'that resets connections': async ({ link }) => {
    link.fail({ refuses: true });
    link.cut();
  },
  'that is silent': async ({ link }) => link.fail({ isSilent: true }),
  'that throttles': answering({ kind: 'error', status: 503, code: 'SlowDown' }),
  'that refuses its credentials': answering({ kind: 'error', status: 403, code: 'AccessDenied' }),
};

function mend({ link, port }: Bucket): void {
  link.mend();
  link.redirectTo([port]);
}

describeWithTools([...redisTools, ...bucketTools], '500 pulls in flight through three replicas', () => {
  const owner = thisSuite();
  let scene: Scene | undefined;
  beforeAll(async () => {
    scene = await startScene(owner);
  });

  test.each(Object.keys(faults))('a bucket %s fails none of them, and is filled again', async (name) => {
    if (!scene) throw new Error('no replicas');
    const { upstream, replicas, bucket, cached } = scene;
    const word = name.split(' ').at(-1) ?? '';
    upstream.clearScripts();
    const missing = publish(upstream, `missing-${word}`, 50);
    const held = gate();
    const path = new RegExp(`/v2/missing-${word}/.*/blobs/`);
    upstream.script({ method: 'GET', path }, { holdBody: { afterBytes: 1_000, until: held } });
    const inFlight = pullMany(replicas.url, missing, 250);
    await upstream.arrived('GET', path, 20);
    const ofCached = pullMany(replicas.url, cached, 250);
    await faults[name]?.(bucket);
    held.open();
    expect((await inFlight).failures).toEqual([]);
    expect((await ofCached).failures).toEqual([]);

    expect((await pullMany(replicas.url, publish(upstream, `later-${word}`, 10), 30)).failures).toEqual([]);
    const warm = await pullInTurn(replicas.url, cached, 60);
    expect(warm.failures).toEqual([]);
    expect(warm.medianMs).toBeLessThan(50);

    mend(bucket);
    await expectFilled(scene, word);
  });
});

/** What is pulled through one replica can be pulled from the bucket, with the upstream and that replica gone. */
async function expectFilled({ upstream, replicas }: Scene, word: string): Promise<void> {
  const fresh = publish(upstream, `again-${word}`, 3);
  const [first, second] = replicas.all;
  if (!first || !second) throw new Error('no replicas');
  expect((await pullMany(first.mirror.url, fresh, 3)).failures).toEqual([]);
  first.fromSiblings.fail({ refuses: true });
  first.fromSiblings.cut();
  await upstream.stop();
  const failures = async () => (await pullMany(second.mirror.url, fresh, 3)).failures;
  await expect.poll(failures, { timeout: 60_000, interval: 500 }).toEqual([]);
  first.fromSiblings.mend();
  await upstream.start();
  const afterwards = publish(upstream, `afterwards-${word}`, 3);
  const refused = async () => (await pullMany(replicas.url, afterwards, 9)).failures;
  await expect.poll(refused, { timeout: 60_000, interval: 500 }).toEqual([]);
}
