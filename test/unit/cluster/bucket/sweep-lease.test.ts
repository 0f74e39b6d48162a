import { expect, test } from 'vitest';
import { clusterKeys } from '../../../../src/cluster/replica-scripts.ts';
import { holdSweep, type SweepLeaseDeps } from '../../../../src/cluster/bucket/sweep-lease.ts';
import { startRedis } from '../../../support/redis.ts';
import { startRedisIndex } from '../../../support/redis-index.ts';

const keys = clusterKeys('layerwell');

test('of two replicas one sweeps at a time, and the other when the first has ended', async () => {
  const { connection: redis } = await startRedisIndex((await startRedis()).settings);
  const first = await holdSweep({ redis, keys, replicaId: 'one' });
  expect(first?.signal.aborted).toBe(false);
  expect(await holdSweep({ redis, keys, replicaId: 'two' })).toBeUndefined();
  await first?.[Symbol.asyncDispose]();
  const second = await holdSweep({ redis, keys, replicaId: 'two' });
  expect(second).toBeDefined();
  await second?.[Symbol.asyncDispose]();
});

test('a replica whose lease another has taken stops its sweep, and releases nothing', async () => {
  const server = await startRedis();
  const { connection: redis } = await startRedisIndex(server.settings);
  const first = await holdSweep({ redis, keys, replicaId: 'one', times: { lifetimeMs: 60_000, renewMs: 10 } });
  await server.ask('SET', keys.sweep(), 'two token', 'PX', '60000');
  await expect.poll(() => first?.signal.aborted).toBe(true);
  await first?.[Symbol.asyncDispose]();
  expect((await server.ask('GET', keys.sweep())).trim()).toBe('two token');
});

test('a lease that never expires keeps no replica from sweeping', async () => {
  const server = await startRedis();
  const { connection: redis } = await startRedisIndex(server.settings);
  await server.ask('SET', keys.sweep(), 'nobody token');
  const held = await holdSweep({ redis, keys, replicaId: 'one' });
  expect(held).toBeDefined();
  await held?.[Symbol.asyncDispose]();
});

test('without Redis a replica sweeps', async () => {
  const redis: SweepLeaseDeps['redis'] = { run: () => Promise.reject(new Error('down')) };
  const held = await holdSweep({ redis, keys, replicaId: 'one' });
  expect(held?.signal.aborted).toBe(false);
  await held?.[Symbol.asyncDispose]();
});
