import { expect, test } from 'vitest';
import type { Claim } from '../../../src/cluster/leases.ts';
import { redisTools, startRedis } from '../../support/redis.ts';
import { describeWithTools } from '../../support/tools.ts';
import { contentNamed, none, type Replicated, startReplicas } from './start-replicas.ts';

const question = contentNamed('layer');
const key = `layerwell:v1:cluster:{docker.io/${question.digest}}`;

async function startTwo() {
  const redis = await startRedis();
  return { redis, replicas: await startReplicas(redis.settings, ['a', 'b']) };
}

const claim = (replica: Replicated | undefined): Promise<Claim> => {
  if (replica === undefined) throw new Error('no such replica');
  return replica.leases.claim(question, { failed: none });
};

describeWithTools(redisTools, 'what somebody else wrote into Redis', () => {
  test.each(['', ' ', 'x', ' http://a:1', 'x'.repeat(10_000)])(
    'holders and leases that are malformed are dropped (%#)',
    async (text) => {
      const { redis, replicas } = await startTwo();
      await redis.ask('ZADD', `${key}:holders:library/alpine`, String(Date.now() + 3_600_000), text);
      await redis.ask('SET', `${key}:lease`, text);
      expect((await claim(replicas[0])).kind).toBe('mine');
      expect(await claim(replicas[1])).toMatchObject({ kind: 'held', holder: { id: 'a' } });
      expect(await redis.ask('EXISTS', `${key}:holders:library/alpine`)).toBe('0');
    },
  );

  test('keys of another type are left alone, and each replica downloads for itself', async () => {
    const { redis, replicas } = await startTwo();
    await redis.ask('SET', `${key}:holders:library/alpine`, 'text');
    await redis.ask('RPUSH', `${key}:lease`, 'list');
    expect((await claim(replicas[0])).kind).toBe('mine');
    expect((await claim(replicas[1])).kind).toBe('mine');
    replicas[0]?.leases.stored(question);
    expect(replicas[0]?.connection.state.state).toBe('up');
  });
});
