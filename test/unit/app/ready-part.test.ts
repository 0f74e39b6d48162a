import { expect, test } from 'vitest';
import { ReadyPart, type ReadyPartDeps } from '../../../src/app/ready-part.ts';

const sinceMs = Date.UTC(2030, 0, 1);

async function readinessWith(redis: ReadyPartDeps['redis']) {
  const ready = new ReadyPart({
    lock: { isMoved: false },
    index: { needsRebuild: false },
    freeBytes: async () => 1,
    arePinsKnown: () => true,
    health: { states: () => ({}) },
    sharedStorage: { state: () => undefined },
    redis,
  });
  await ready.start();
  return ready.now();
}

test('Redis that is down is told, and the mirror is ready all the same', async () => {
  const cluster = { state: { state: 'down', reason: 'timeout', sinceMs } } as const;
  const index = { state: { state: 'up', harmfulPolicy: 'allkeys-lru', sinceMs } } as const;
  const { isReady, body } = await readinessWith({ cluster, index });
  expect(isReady).toBe(true);
  expect(body).toMatchObject({
    redis: {
      cluster: { state: 'down', reason: 'timeout', since: '2030-01-01T00:00:00.000Z' },
      index: { state: 'up', warning: 'maxmemory-policy allkeys-lru may evict keys that must stay' },
    },
  });
});

test('without Redis nothing is told of it', async () => {
  expect((await readinessWith(undefined)).body).not.toHaveProperty('redis');
});
