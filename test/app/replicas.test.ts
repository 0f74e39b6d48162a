import { expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { makeCertificateFiles } from '../support/certificate-files.ts';
import { ask, open } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image, type Content, randomBlob } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { redisTools, startRedis, type TestRedis } from '../support/redis.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { clusterOf, startReplicas } from '../support/start-replicas.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { describeWithTools } from '../support/tools.ts';

const repository = 'library/app';
const blobs = /\/blobs\//;
const manifests = /\/manifests\//;

interface Shared {
  readonly upstream: FakeRegistry;
  readonly redis: TestRedis;
  readonly apps: readonly RunningApp[];
}

async function started(count: number): Promise<Shared> {
  const [upstream, redis] = [await startFakeRegistry(), await startRedis()];
  return { upstream, redis, apps: await startReplicas(count, mirrorOf(upstream), { redis }) };
}

const each = <Result>(apps: readonly RunningApp[], times: number, work: (app: RunningApp) => Promise<Result>) =>
  Promise.all(apps.flatMap((app) => Array.from({ length: times }, () => work(app))));

/** The app that the upstream sends the blob to, and the others. */
async function bySource(
  apps: readonly RunningApp[],
): Promise<{ readonly holder: RunningApp; readonly others: readonly RunningApp[] }> {
  const bytes = await Promise.all(
    apps.map(async (app) => (await app.metrics()).sum('layerwell_blob_source_bytes_total', { source: 'upstream' })),
  );
  const holder = apps[bytes.findIndex((one) => one > 0)];
  if (!holder) throw new Error('the upstream sends nothing');
  return { holder, others: apps.filter((app) => app !== holder) };
}

/** Three replicas in the middle of a blob of 4 MB that all of them download, with ten clients each. */
async function inTheMiddle() {
  const shared = await started(3);
  const { upstream, apps } = shared;
  const blob = randomBlob(4_000_000);
  upstream.content.addBlob(repository, blob);
  const held = gate();
  upstream.script({ path: blobs, times: 1 }, { holdBody: { afterBytes: 2_000_000, until: held } });
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  const clients = await each(apps, 10, async (app) => ({ app, client: await open(app, path) }));
  const begun = await Promise.all(
    clients.map(async ({ app, client }) => ({ app, client, start: await client.read(1_000_000) })),
  );
  /** The digests that the clients of some apps end up with. */
  const digests = (of: readonly RunningApp[]) =>
    Promise.all(
      begun
        .filter(({ app }) => of.includes(app))
        .map(async ({ client, start }) => digestOf(Buffer.concat([start, await client.rest()]))),
    );
  return { ...shared, blob, held, digests, path };
}

const only = (blob: Content) => new Set([blob.digest]);

describeWithTools(redisTools, 'replicas that share a Redis', () => {
  test('thirty clients at three replicas that pull one uncached image by tag cause one request for each part', async () => {
    const { upstream, apps } = await started(3);
    const pushed = image({ layers: 2, layerBytes: 3_000_000 });
    upstream.content.add(repository, 'latest', pushed);
    const pulled = await each(apps, 10, (app) => pullAll(app, repository, 'latest'));
    expect(new Set(pulled.map(({ digest }) => digest))).toEqual(new Set([pushed.manifest.digest]));
    expect(upstream.seen('GET', manifests).map(({ path }) => path)).toHaveLength(1);
    expect(upstream.count('HEAD')).toBe(0);
    const asked = upstream.seen('GET', blobs).map(({ path }) => path);
    expect(asked.toSorted()).toEqual([...new Set(asked)].toSorted());
    const metrics = await Promise.all(apps.map((app) => app.metrics()));
    const bytes = (source: string) =>
      metrics.reduce((sum, one) => sum + one.sum('layerwell_blob_source_bytes_total', { source }), 0);
    expect(bytes('sibling')).toBe(2 * bytes('upstream'));
  });

  test('when the replica that downloads dies in the middle, the clients of the others get the right bytes, after one more request for the rest', async () => {
    const { upstream, apps, blob, held, digests } = await inTheMiddle();
    const { holder, others } = await bySource(apps);
    const whole = digests(others);
    const cut = digests([holder]).catch(() => 'cut');
    await holder.stop(0);
    expect(new Set(await whole)).toEqual(only(blob));
    expect(await cut).toBe('cut');
    const asked = upstream.seen('GET', blobs);
    expect(asked).toHaveLength(2);
    expect(asked[1]?.headers.range).toMatch(/^bytes=[1-9]\d+-$/);
    held.open();
  });

  test('when Redis dies in the middle, every client gets the right bytes, and what runs is not begun again', async () => {
    const { upstream, apps, redis, blob, held, digests, path } = await inTheMiddle();
    await redis.kill();
    const whole = digests(apps);
    held.open();
    expect(new Set(await whole)).toEqual(only(blob));
    expect(upstream.count('GET', blobs)).toBe(1);
    for (const app of apps) {
      await app.quiet();
      expect((await ask(app, path)).cache).toBe('hit');
    }
    // Each replica works for itself from now on.
    const other = randomBlob(100_000);
    upstream.content.addBlob(repository, other);
    for (const { body } of await each(apps, 1, (app) => ask(app, `/v2/${repository}/blobs/${other.digest}`)))
      expect(body.equals(other.bytes)).toBe(true);
  });

  test('a replica that joins later reads what another has, and the upstream is not asked', async () => {
    const { upstream, apps, redis } = await started(1);
    const pushed = image({ layers: 2, layerBytes: 500_000 });
    upstream.content.add(repository, 'latest', pushed);
    for (const app of apps) await pullAll(app, repository, 'latest');
    for (const app of apps) await app.quiet();
    upstream.forgetRequests();
    const [late] = await startReplicas(1, mirrorOf(upstream), { redis });
    if (!late) throw new Error('not started');
    await pullAll(late, repository, pushed.manifest.digest);
    expect(upstream.requests.filter(({ path }) => path !== '/v2/')).toEqual([]);
  });

  test('a replica that was restarted is read from again, for what its clients pull', async () => {
    const { upstream, apps, redis } = await started(1);
    const pushed = image({ layers: 2, layerBytes: 100_000 });
    upstream.content.add(repository, 'latest', pushed);
    const [first] = apps;
    if (!first) throw new Error('not started');
    await pullAll(first, repository, 'latest');
    await first.restart(); // With another id.
    await pullAll(first, repository, pushed.manifest.digest);
    upstream.forgetRequests();
    for (const late of await startReplicas(1, mirrorOf(upstream), { redis }))
      await pullAll(late, repository, pushed.manifest.digest);
    expect(upstream.requests.filter(({ path }) => path !== '/v2/')).toEqual([]);
  });

  test('a blob that a replica has for one repository is served for another only if the upstream has it there', async () => {
    const { upstream, apps } = await started(2);
    const blob = randomBlob(100_000);
    upstream.content.addBlob(repository, blob);
    upstream.content.addBlob('library/other', randomBlob(10));
    const [first, second] = apps;
    if (!first || !second) throw new Error('not started');
    await ask(first, `/v2/${repository}/blobs/${blob.digest}`);
    await first.quiet();
    expect((await ask(second, `/v2/library/other/blobs/${blob.digest}`)).status).toBe(404);
    upstream.content.addBlob('library/third', blob);
    const third = await ask(second, `/v2/library/third/blobs/${blob.digest}`);
    expect(third.body.equals(blob.bytes)).toBe(true);
  });

  test('with every upstream dead, a replica that has never seen an image serves it whole by tag, marked stale', async () => {
    const { upstream, apps, redis } = await started(2);
    const pushed = image({ layers: 2, layerBytes: 500_000 });
    upstream.content.add(repository, 'latest', pushed);
    const [first, second] = apps;
    if (!first || !second) throw new Error('not started');
    await pullAll(first, repository, 'latest');
    await first.quiet();
    await upstream.stop();
    await redis.flush(); // Nobody is named as a holder, and no tag is fresh.
    const pulled = await pullAll(second, repository, 'latest');
    expect(pulled.digest).toBe(pushed.manifest.digest);
    const again = await ask(second, `/v2/${repository}/manifests/latest`);
    expect(again.cache).toContain('stale');
  });

  test('a replica that drains hands its running downloads over', async () => {
    const { apps, blob, held, digests, upstream } = await inTheMiddle();
    const { holder, others } = await bySource(apps);
    const whole = digests(others);
    const own = digests([holder]);
    const stopped = holder.stop();
    // It withdraws first: no other replica asks it any more, while its own clients are still served.
    const known = async () => (await others[0]?.metrics())?.sum('layerwell_cluster_replicas');
    await expect.poll(known).toBe(2);
    held.open();
    expect(new Set(await own)).toEqual(only(blob));
    await stopped;
    expect(new Set(await whole)).toEqual(only(blob));
    expect(upstream.count('GET', blobs)).toBeLessThanOrEqual(2);
  });

  test('replicas whose listeners serve TLS read from each other', async () => {
    const [upstream, redis] = [await startFakeRegistry(), await startRedis()];
    const files = await makeCertificateFiles(await temporaryDirectory(), 'replica');
    const apps: RunningApp[] = [];
    for (let count = 0; count < 2; count += 1) {
      const plain = await clusterOf(redis);
      const cluster = {
        ...plain,
        listen: { ...Object(plain['listen']), tls: files },
        advertise: String(plain['advertise']).replace('http:', 'https:'),
        tls: { caFile: files.certFile },
      };
      apps.push(await startApp({ ...mirrorOf(upstream), cluster }));
    }
    const blob = randomBlob(100_000);
    upstream.content.addBlob(repository, blob);
    for (const app of apps) {
      expect((await ask(app, `/v2/${repository}/blobs/${blob.digest}`)).body.equals(blob.bytes)).toBe(true);
      await app.quiet();
    }
    expect(upstream.count('GET', blobs)).toBe(1);
  });

  test('a replica with another secret downloads by itself, and its readyz says who refuses it', async () => {
    const { upstream, apps, redis } = await started(1);
    const [first] = apps;
    const secret = 'another secret, which is long enough too';
    const outsider = await startApp({ ...mirrorOf(upstream), cluster: await clusterOf(redis, { secret }) });
    const blob = randomBlob(100_000);
    upstream.content.addBlob(repository, blob);
    const path = `/v2/${repository}/blobs/${blob.digest}`;
    if (!first) throw new Error('not started');
    await ask(first, path);
    await first.quiet();
    expect((await ask(outsider, path)).body.equals(blob.bytes)).toBe(true);
    expect(upstream.count('GET', blobs)).toBe(2);
    const ready = async (app: RunningApp): Promise<unknown> => (await fetch(`${app.managementUrl}/readyz`)).json();
    expect(await ready(outsider)).toMatchObject({
      cluster: { replicas: 2, secretRefusedBy: [expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/)] },
    });
    expect(
      (await first.metrics()).sum('layerwell_sibling_requests_served_total', { result: 'refused' }),
    ).toBeGreaterThan(0);
  });
});
