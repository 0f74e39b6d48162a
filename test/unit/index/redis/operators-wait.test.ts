import { expect, test, vi } from 'vitest';
import type { ListOrder } from '../../../../src/mirror/ports/store-index.ts';
import { indexImage, layer, manifest, repositoryId } from '../../../support/indexed-image.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { startRedis } from '../../../support/redis.ts';
import { startRedisIndex } from '../../../support/redis-index.ts';
import { never } from '../../../support/sqlite-index.ts';

const pollOptions = { timeout: 10_000, interval: 10 };
const order: ListOrder = { by: 'lastPull', isDescending: true };
const list = { filter: {}, order, after: undefined, limit: 10 };

async function indexWithImage() {
  const [redis, clock] = [await startRedis(), new ManualClock()];
  const { index, connection } = await startRedisIndex(redis.settings, { clock });
  await index.completeRebuild({ signal: never });
  indexImage(index);
  index.recordLink({ repositoryId, kind: 'manifest', digest: manifest, mediaType: undefined, size: 1 });
  await index.settled({ signal: never });
  return { redis, clock, index, connection };
}

test.each(['tags', 'repositories', 'details'] as const)(
  'an operator who asks for %s while Redis hangs for a moment is answered when it goes on',
  async (asked) => {
    const { redis, index, connection } = await indexWithImage();
    redis.pause();
    const operator = {
      tags: () => index.listTags(list),
      repositories: () => index.listRepositories(list),
      details: () => index.details(manifest),
    }[asked]();
    expect(await index.hasContent(layer)).toBe(false);
    expect(connection.state).toMatchObject({ state: 'down', reason: 'timeout' });
    redis.resume();
    expect(await operator).toMatchObject(
      asked === 'details' ? { content: { size: 1 } } : { items: [{ repositoryId }] },
    );
  },
);

test('an operator waits longer for a slow Redis than a pull does, and the connection of pulls is kept', async () => {
  const { redis, index, connection } = await indexWithImage();
  const states: string[] = [];
  using _watch = connection.onChange(({ state }) => states.push(state));
  await redis.ask('CLIENT', 'PAUSE', '400', 'ALL');
  expect(await index.listTags(list)).toMatchObject({ items: [{ repositoryId }] });
  expect(states).toEqual([]);
});

test('an operator waits two seconds for a Redis that is gone, and later ones do not wait', async () => {
  const { redis, clock, index, connection } = await indexWithImage();
  await redis.kill();
  await vi.waitUntil(() => connection.state.state === 'down', pollOptions);
  const startedMs = performance.now();
  expect(await index.listTags(list)).toBe(undefined);
  expect(performance.now() - startedMs).toBeGreaterThan(1_900);
  clock.advance(2_000);
  const lateMs = performance.now();
  for (let number = 0; number < 20; number += 1) expect(await index.listTags(list)).toBe(undefined);
  expect(performance.now() - lateMs).toBeLessThan(1_000);
});

test('an operator who waits for Redis does not hold up the stop of the index', async () => {
  const { redis, index, connection } = await indexWithImage();
  await redis.kill();
  await vi.waitUntil(() => connection.state.state === 'down', pollOptions);
  const operator = index.listTags(list);
  await index.stop();
  await expect(operator).resolves.toBe(undefined);
});

test('an operator who leaves no longer waits for Redis', async () => {
  const { redis, index, connection } = await indexWithImage();
  await redis.kill();
  await vi.waitUntil(() => connection.state.state === 'down', pollOptions);
  const operator = new AbortController();
  const asked = { ...list, signal: operator.signal };
  const startedMs = performance.now();
  const waiting = Promise.allSettled([index.listTags(asked), index.listRepositories(asked)]);
  operator.abort(new Error('the client has left'));
  const left = { status: 'rejected', reason: operator.signal.reason };
  expect(await waiting).toEqual([left, left]);
  expect(performance.now() - startedMs).toBeLessThan(1_000);
});
