import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image, randomBlob } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { redisTools, startRedis } from '../support/redis.ts';
import type { RunningApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { startReplicas } from '../support/start-replicas.ts';
import { describeWithTools } from '../support/tools.ts';

const repository = 'library/app';
/** A sibling that says nothing for so long has failed: replicas that wait for each other wait for all of it. */
const silentMs = 5_000;

/** All keys, each with what it holds. */
const everything = `
  local found = {}
  for _, key in ipairs(redis.call('KEYS', '*')) do
    local kind = redis.call('TYPE', key).ok
    local held = kind == 'string' and redis.call('GET', key)
      or kind == 'hash' and redis.call('HGETALL', key)
      or kind == 'zset' and redis.call('ZRANGE', key, 0, -1)
      or kind == 'set' and redis.call('SMEMBERS', key)
      or kind == 'list' and redis.call('LRANGE', key, 0, -1)
    table.insert(found, key .. ' ' .. cjson.encode(held))
  end
  return found`;

/** Resolves when each replica knows the two others. */
async function acquainted(apps: readonly RunningApp[]): Promise<void> {
  const known = async () =>
    Promise.all(apps.map(async (app) => (await app.metrics()).sum('layerwell_cluster_replicas')));
  await expect.poll(known).toEqual(apps.map(() => apps.length));
}

describeWithTools(redisTools, 'replicas whose upstream is gone', () => {
  test.each([
    { what: 'a blob', path: `blobs/${randomBlob(1_000).digest}` },
    { what: 'a manifest', path: `manifests/${image().manifest.digest}` },
    { what: 'a tag', path: 'manifests/latest' },
  ])('do not wait for each other when none has $what that clients ask all of them for', async ({ path }) => {
    const [upstream, redis] = [await startFakeRegistry(), await startRedis()];
    const apps = await startReplicas(3, mirrorOf(upstream), { redis });
    await acquainted(apps);
    await upstream.stop();
    const startedAt = performance.now();
    const asked = await Promise.all(apps.map((app) => ask(app, `/v2/${repository}/${path}`)));
    expect(asked.map(({ status }) => status)).toEqual([503, 503, 503]);
    expect(performance.now() - startedAt).toBeLessThan(silentMs);
  });
});

describeWithTools(redisTools, 'Redis', () => {
  test('holds no secret, and no byte of content', async () => {
    const [upstream, redis] = [await startFakeRegistry(), await startRedis()];
    const apps = await startReplicas(2, mirrorOf(upstream), { redis });
    const pushed = image({ name: 'canary' });
    upstream.content.add(repository, 'latest', pushed);
    await acquainted(apps);
    for (const app of apps) await pullAll(app, repository, 'latest');
    const held = await redis.ask('EVAL', everything, '0');
    expect(held).toContain(pushed.manifest.digest);
    expect(held).not.toMatch(/secret|canary/i);
  });
});
