import { expect, test } from 'vitest';
import { newReplicaId, parseReplica } from '../../../src/cluster/membership.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { redisTools, startRedis } from '../../support/redis.ts';
import { startRedisCluster } from '../../support/redis-servers.ts';
import { describeWithTools } from '../../support/tools.ts';
import { longTimes, type Replicated, shortTimes, startReplica, startReplicas } from './start-replicas.ts';

const othersOf = (replica: Replicated | undefined) => replica?.membership.others.map(({ id }) => id);
const signal = AbortSignal.timeout(60_000);

test('each start of a replica has its own id, also with a name', () => {
  const ids = [newReplicaId(undefined), newReplicaId(undefined), newReplicaId('pod-0'), newReplicaId('pod-0')];
  expect(new Set(ids).size).toBe(4);
  expect(ids[2]).toMatch(/^pod-0\.[0-9a-f]{12}$/);
});

test('what is no replica is not read as one', () => {
  expect(parseReplica('a http://a:1')).toEqual({ id: 'a', address: 'http://a:1' });
  for (const text of ['', 'a', ' http://a:1', 'a http://a:1 more']) expect(parseReplica(text)).toBeUndefined();
});

describeWithTools(redisTools, 'the replicas that know each other', () => {
  test('find each other, and tell who listens', async () => {
    const redis = await startRedis();
    const a = await startReplica(redis.settings, 'a', { times: shortTimes });
    const heard: string[][] = [];
    a.membership.onChange((others) => heard.push(others.map(({ address }) => address)));
    const b = await startReplica(redis.settings, 'b', { times: shortTimes });
    await expect.poll(() => othersOf(a)).toEqual(['b']);
    expect(othersOf(b)).toEqual(['a']);
    await expect.poll(() => a.observer.replicas.length).toBeGreaterThan(3);
    expect(heard).toEqual([['http://b:5002']]);
    expect(a.observer.replicas.at(-1)).toBe(2);
  });

  test('do not take a former process at their own address for another replica', async () => {
    const redis = await startRedis();
    const [a] = await startReplicas(redis.settings, ['a', 'b']);
    const inAMinute = String(Date.now() + 60_000);
    await redis.ask('ZADD', 'layerwell:v1:cluster:replicas', inAMinute, 'before http://a:5002');
    await a?.membership.refresh();
    expect(othersOf(a)).toEqual(['b']);
  });

  test('a member that was written while the clock of Redis was ahead is dropped', async () => {
    const redis = await startRedis();
    const [a] = await startReplicas(redis.settings, ['a', 'b']);
    const inAnHour = String(Date.now() + 3_600_000); // Ten times the lifetime are 10 minutes.
    await redis.ask('ZADD', 'layerwell:v1:cluster:replicas', inAnHour, 'dead http://dead:5002');
    await a?.membership.refresh();
    expect(othersOf(a)).toEqual(['b']);
  });

  test('one that leaves is gone at once, one that dies after a while', async () => {
    const redis = await startRedis();
    const [a, b, c] = await startReplicas(redis.settings, ['a', 'b', 'c'], { times: shortTimes });
    await expect.poll(() => othersOf(a)).toEqual(['b', 'c']);
    await b?.membership.leave({ signal });
    expect(await redis.ask('ZRANGE', 'layerwell:v1:cluster:replicas', '0', '-1')).not.toContain('b http');
    await c?.connection.stop({ signal });
    await expect.poll(() => othersOf(a)).toEqual([]);
  });

  test('are kept in mind while Redis is away, and found again after it was flushed', async () => {
    const redis = await startRedis();
    const [a] = await startReplicas(redis.settings, ['a', 'b'], { times: shortTimes });
    await expect.poll(() => othersOf(a)).toEqual(['b']);
    await redis.kill();
    await expect.poll(() => a?.connection.state.state).toBe('down');
    expect(othersOf(a)).toEqual(['b']);
    await redis.start();
    await expect.poll(() => a?.connection.state.state).toBe('up');
    await expect.poll(() => othersOf(a)).toEqual(['b']);
    await redis.flush();
    await expect.poll(() => redis.ask('ZCARD', 'layerwell:v1:cluster:replicas')).toBe('2');
  });

  test('a replica joins as soon as Redis comes, before its next heartbeat', async () => {
    const redis = await startRedis();
    await redis.kill();
    const late = await startReplica(redis.settings, 'late', { times: { ...longTimes } });
    await redis.start();
    await expect.poll(() => redis.ask('ZCARD', 'layerwell:v1:cluster:replicas')).toBe('1');
    expect(late.observer.replicas.at(-1)).toBe(1);
  });

  test('a replica whose clock is an hour wrong is a member like the others', async () => {
    const redis = await startRedis();
    const clock = new ManualClock(Date.now() - 3_600_000);
    const wrong = await startReplica(redis.settings, 'wrong', { clock });
    const right = await startReplica(redis.settings, 'right');
    await wrong.membership.start();
    expect(othersOf(right)).toEqual(['wrong']);
    expect(othersOf(wrong)).toEqual(['right']);
  });

  test('in a Cluster of Redis too', async () => {
    const cluster = await startRedisCluster();
    const [a, b] = await startReplicas(cluster.settings, ['a', 'b']);
    expect([othersOf(a), othersOf(b)]).toEqual([['b'], ['a']]);
  });
});
