import { expect, test } from 'vitest';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { thisTest } from '../support/owner.ts';
import { redisTools, startRedis } from '../support/redis.ts';
import { describeWithTools } from '../support/tools.ts';
import { publish, type Pulls, pullMany } from './harness/load.ts';
import { haveMet, type Replicas, startReplicas } from './harness/replicas.ts';

/** Each replica is drained, stopped as a service manager does, and started again. */
async function updateEach(replicas: Replicas): Promise<void> {
  for (const replica of replicas.all) {
    replicas.drain(replica);
    await replica.mirror.restart();
    replicas.putBack(replica);
    await haveMet(replicas);
  }
}

describeWithTools(redisTools, 'three replicas are replaced one after another', () => {
  test('no pull is lost or cut meanwhile', async () => {
    const redis = await startRedis();
    const upstream = await startFakeRegistry();
    const config = { shutdown: { preStop: '1s' } };
    const replicas = await startReplicas({ upstream, redis, config, owner: thisTest });
    await haveMet(replicas);
    const all: Pulls[] = [];
    let isUpdated = false;
    const load = async (name: string): Promise<void> => {
      for (let turn = 0; !isUpdated; turn += 1) {
        const images = publish(upstream, `${name}-${turn}`, 3);
        all.push(await pullMany(replicas.url, images, 9));
      }
    };
    const loads = ['a', 'b', 'c'].map(load);
    await updateEach(replicas).finally(() => {
      isUpdated = true;
    });
    await Promise.all(loads);
    expect(all.flatMap(({ failures }) => failures)).toEqual([]);
    expect(all.reduce((sum, { cuts }) => sum + cuts, 0)).toBe(0);
    expect(all.length * 9).toBeGreaterThan(100);
  });
});
