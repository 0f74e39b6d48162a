import { beforeAll, expect, test } from 'vitest';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { type S3Fault, startFakeS3 } from '../support/fake-s3.ts';
import { gate } from '../support/gate.ts';
import { type Owner, thisSuite } from '../support/owner.ts';
import { redisTools, startRedis } from '../support/redis.ts';
import { mirrorOf, startMirror } from '../support/start-mirror.ts';
import { describeWithTools } from '../support/tools.ts';
import { type Bucket, bucketEnvironment, bucketTools, startBucket } from './harness/bucket.ts';
import { imageOf } from './harness/image.ts';
import { type NamedImage, publish, type Pulls, pullInTurn, pullMany } from './harness/load.ts';
import { haveMet, portOf, type Replicas, startReplicas } from './harness/replicas.ts';

interface Scene {
  readonly upstream: FakeRegistry;
  readonly replicas: Replicas;
  readonly bucket: Bucket;
  /** Every replica has them. */
  readonly cached: readonly NamedImage[];
  /** The bucket has them, and no replica: each is used by one test. */
  readonly inBucket: readonly NamedImage[];
}

/** Of how many images that only the bucket has a test reads. */
const atOnce = 3;

async function startScene(owner: Owner): Promise<Scene> {
  const [redis, bucket] = [await startRedis({ owner }), await startBucket(owner)];
  const upstream = await startFakeRegistry({ owner });
  const config = { storage: { shared: bucket.section } };
  const replicas = await startReplicas({ upstream, redis, linked: 1, config, env: bucketEnvironment, owner });
  const cached = publish(upstream, 'cached', 10);
  for (const { mirror } of replicas.all) expect((await pullMany(mirror.url, cached, 10)).failures).toEqual([]);
  await haveMet(replicas);
  const inBucket = await putIntoBucket({ upstream, bucket, count: atOnce * Object.keys(faults).length, owner });
  return { upstream, replicas, bucket, cached, inBucket };
}

/** Images with a layer of 2 MiB, uploaded by a mirror that is gone then. */
async function putIntoBucket(scene: {
  readonly upstream: FakeRegistry;
  readonly bucket: Bucket;
  readonly count: number;
  readonly owner: Owner;
}): Promise<readonly NamedImage[]> {
  const { upstream, bucket, count, owner } = scene;
  const config = { ...mirrorOf(upstream), storage: { shared: bucket.directSection } };
  const former = await startMirror(config, { owner, env: bucketEnvironment });
  const images = Array.from({ length: count }, (_, index) => {
    const published = { repository: `in-bucket/app-${index}`, tag: 'v1', image: imageOf(2, `in the bucket ${index}`) };
    upstream.content.add(published.repository, published.tag, published.image);
    return published;
  });
  expect((await pullMany(former.url, images, count)).failures).toEqual([]);
  while ((await former.metrics()).sum('layerwell_shared_storage_uploads_queued') > 0);
  await former.stop();
  return images;
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

/** Begins pulls whose layers stop in their middle on the way from the bucket. */
async function inTheMiddleOf(
  { link }: Bucket,
  begin: () => Promise<Pulls>,
): Promise<{ readonly pulls: Promise<Pulls> }> {
  link.fail({ silentAfterBytes: 500_000 });
  const before = link.receivedBytes;
  const pulls = begin();
  await expect.poll(() => link.receivedBytes - before, { timeout: 30_000 }).toBeGreaterThan(500_000);
  return { pulls };
}

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
    const { upstream, replicas, bucket, cached, inBucket } = scene;
    const word = name.split(' ').at(-1) ?? '';
    const first = atOnce * Object.keys(faults).indexOf(name);
    const stored = inBucket.slice(first, first + atOnce);
    upstream.clearScripts();
    upstream.forgetRequests();
    const missing = publish(upstream, `missing-${word}`, 50);
    const held = gate();
    const path = new RegExp(`/v2/missing-${word}/.*/blobs/`);
    upstream.script({ method: 'GET', path }, { holdBody: { afterBytes: 1_000, until: held } });
    const ofBucket = await inTheMiddleOf(bucket, () => pullMany(replicas.url, stored, 30));
    const inFlight = pullMany(replicas.url, missing, 220);
    await upstream.arrived('GET', path, 20);
    const ofCached = pullMany(replicas.url, cached, 250);
    await faults[name]?.(bucket);
    held.open();
    expect((await ofBucket.pulls).failures).toEqual([]);
    const resumed = upstream.seen('GET', /\/in-bucket\/.*\/blobs\//).filter(({ headers }) => headers.range);
    // Late bytes arrive all the same.
    expect(resumed.length).toBeGreaterThanOrEqual(name.includes('latency') ? 0 : 1);
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
