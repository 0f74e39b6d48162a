import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { type Image, image, multiPlatformImage, referrerOf } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { redisTools, startRedis, type TestRedis } from '../support/redis.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { clusterOf } from '../support/start-replicas.ts';
import { describeWithTools } from '../support/tools.ts';

const account = { username: 'mirror', password: 'secret' };
const repository = 'team/app';
const service = { visibility: 'service', allowAnonymous: true };
const day = 24 * 3_600_000;

interface Shared {
  readonly upstream: FakeRegistry;
  readonly redis: TestRedis;
  /** Repositories that anonymous callers may not read. */
  readonly hides: string[];
}

/** A registry with an account that reads everything, and a Redis for replicas. */
async function shared(...hides: string[]): Promise<Shared> {
  const upstream = await startFakeRegistry({ auth: { kind: 'bearer', ...account, privateRepositories: hides } });
  return { upstream, redis: await startRedis(), hides };
}

/** A replica that has the account. */
async function replica({ upstream, redis }: Shared, entry: object = {}): Promise<RunningApp> {
  const credentials = [{ kind: 'basic', ...account }];
  const docker = { url: upstream.url, credentials, visibility: 'public', ...entry };
  return startApp(mirrorOf(upstream, { upstreams: { 'docker.io': docker }, cluster: await clusterOf(redis) }));
}

/** Everything of the image that can be asked for. */
function pathsOf({ manifest, children, blobs }: Image): readonly string[] {
  const manifests = [manifest, ...children].map(({ digest }) => `manifests/${digest}`);
  const all = ['manifests/1', ...manifests, ...blobs.map(({ digest }) => `blobs/${digest}`), 'tags/list'];
  return [...all, `referrers/${manifest.digest}`].map((path) => `/v2/${repository}/${path}`);
}

async function statuses(app: RunningApp, paths: readonly string[]): Promise<ReadonlySet<number>> {
  const seen = new Set<number>();
  for (const path of paths) for (const method of ['GET', 'HEAD']) seen.add((await ask(app, path, { method })).status);
  return seen;
}

/** A cluster whose first replica has an image of a repository that is public. */
async function heldByOne() {
  const all = await shared();
  const held = image();
  all.upstream.content.add(repository, '1', held);
  const first = await replica(all);
  await pullAll(first, repository, '1');
  await first.quiet();
  return { all, held, first };
}

describeWithTools(redisTools, 'visibility among replicas', () => {
  test('what one replica serves to everyone never reaches an anonymous client of a replica under "public", with the upstream dead neither', async () => {
    const all = await shared(repository);
    const held = multiPlatformImage();
    all.upstream.content.add(repository, '1', held, [referrerOf(held.manifest)]);
    const open = await replica(all, service);
    await pullAll(open, repository, '1');
    await open.quiet();
    const strict = await replica(all);
    expect(await statuses(strict, pathsOf(held))).toEqual(new Set([404]));
    await all.upstream.stop();
    strict.clock.advance(day);
    expect(await statuses(strict, pathsOf(held))).toEqual(new Set([404]));
    // One that joins now learns from the strict one that it is hidden, and without that one nobody knows.
    const late = await replica(all);
    expect(await statuses(late, pathsOf(held))).toEqual(new Set([404]));
    await strict.stop();
    await late.stop();
    const last = await replica(all);
    expect(await statuses(last, pathsOf(held))).toEqual(new Set([503]));
  });

  test('with the upstream dead, a replica without a verdict serves what another knows to be public', async () => {
    const { all, held, first } = await heldByOne();
    await all.upstream.stop();
    const second = await replica(all);
    const { digest } = await pullAll(second, repository, '1');
    expect(digest).toBe(held.manifest.digest);
    // The verdict is its own from now on.
    await first.stop();
    await second.quiet();
    await second.restart();
    await pullAll(second, repository, held.manifest.digest);
  });

  test('what another replica knows to be hidden is hidden, though that replica still stores it', async () => {
    const { all, held, first } = await heldByOne();
    all.hides.push(repository);
    all.upstream.auth.revokeTokens();
    first.clock.advance(day);
    await ask(first, `/v2/${repository}/manifests/1`); // The check runs in the background.
    while ((await ask(first, `/v2/${repository}/manifests/1`)).status !== 404);
    await all.upstream.stop();
    const second = await replica(all);
    expect(await statuses(second, pathsOf(held))).toEqual(new Set([404]));
  });
});
