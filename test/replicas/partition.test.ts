import { expect, test } from 'vitest';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { thisTest } from '../support/owner.ts';
import { redisTools, startRedis } from '../support/redis.ts';
import { describeWithTools } from '../support/tools.ts';
import { isAskedOnce, publish, pullMany } from './harness/load.ts';
import { haveMet, type Replica, startReplicas } from './harness/replicas.ts';

/** It reaches only its upstream and its clients. */
function partition({ toRedis, fromSiblings }: Replica): void {
  for (const link of [toRedis, fromSiblings]) {
    link.fail({ isSilent: true });
  }
}

function reunite({ toRedis, fromSiblings }: Replica): void {
  for (const link of [toRedis, fromSiblings]) link.mend();
}

describeWithTools(redisTools, 'one of three replicas behind a partition', () => {
  test('costs the upstream at most one more request for each part of an image', async () => {
    const redis = await startRedis();
    const upstream = await startFakeRegistry();
    const replicas = await startReplicas({ upstream, redis, linked: 1, owner: thisTest });
    await haveMet(replicas);
    const [alone] = replicas.all;
    if (!alone) throw new Error('no replicas');
    partition(alone);
    const images = publish(upstream, 'partitioned', 10);
    expect((await pullMany(replicas.url, images, 90)).failures).toEqual([]);
    const requests = images.flatMap(({ repository, tag, image }) => [
      upstream.count(undefined, new RegExp(`/${repository}/manifests/${tag}$`)),
      ...[image.manifest, ...image.blobs].map(({ digest }) => upstream.count('GET', new RegExp(`/${digest}$`))),
    ]);
    expect(Math.max(...requests)).toBeLessThanOrEqual(2);

    reunite(alone);
    let attempt = 0;
    const isShared = () => isAskedOnce(replicas.url, upstream, `again-${(attempt += 1)}`);
    await expect.poll(isShared, { timeout: 30_000, interval: 500 }).toBe(true);
  });
});
