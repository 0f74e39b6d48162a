import { randomUUID } from 'node:crypto';
import { expect, test, vi } from 'vitest';
import type { Totals } from '../../../../src/mirror/ports/store-index.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { ociManifest } from '../../../../src/oci/media-types.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { everything, indexImage, latest, layer, manifest, repositoryId } from '../../../support/indexed-image.ts';
import { startRedis, type TestRedis } from '../../../support/redis.ts';
import { type RedisIndexOptions, startRedisIndex } from '../../../support/redis-index.ts';
import { never } from '../../../support/sqlite-index.ts';

async function completeIndex(options: RedisIndexOptions & { readonly redis?: TestRedis } = {}) {
  const redis = options.redis ?? (await startRedis());
  const storeId = options.storeId ?? randomUUID();
  const started = await startRedisIndex(redis.settings, { ...options, storeId });
  await started.index.completeRebuild({ signal: never });
  const key = (name: string) => `layerwell:v1:{${storeId}}:${name}`;
  return { ...started, redis, storeId, key };
}

const isAway = (index: { isComplete(): Promise<boolean> }) => vi.waitUntil(async () => !(await index.isComplete()));

/** Waits until the loss is noticed by itself; nothing is asked meanwhile. */
const lost = (index: { readonly needsRebuild: boolean }) =>
  vi.waitUntil(() => index.needsRebuild, { timeout: 15_000, interval: 50 });

test('a view that was closed is complete for the next run of its store, and has its content', async () => {
  const { index, redis, storeId } = await completeIndex({ run: 'second', lastRun: 'first' });
  indexImage(index);
  await index.stop();
  const next = await startRedisIndex(redis.settings, { storeId, run: 'third', lastRun: 'second' });
  expect(next.index.needsRebuild).toBe(false);
  expect(await next.index.totals()).toMatchObject({ bytes: 11, manifests: 1, blobs: 1, records: 1 });
  expect(await next.index.evictable(everything)).toMatchObject([{ digest: manifest, usedAtMs: 2 }]);
  expect(await next.index.forget(manifest)).toEqual([{ kind: 'tag', repositoryId, tag: latest }]);
});

test('a view of a release that did not count the bytes of manifests is kept, and counts them from then on', async () => {
  const { index, redis, storeId, key } = await completeIndex({ run: 'second', lastRun: 'first' });
  indexImage(index);
  await index.stop();
  expect(await redis.ask('HDEL', key('state'), 'manifestbytes')).toContain('1');
  const { index: next } = await startRedisIndex(redis.settings, { storeId, run: 'third', lastRun: 'second' });
  expect(next.needsRebuild).toBe(false);
  expect(await next.totals()).toMatchObject({ bytes: 11, manifestBytes: 1 });
  await next.forget(manifest);
  expect(await next.totals()).toMatchObject({ bytes: 10, manifestBytes: 0 });
});

test('a Redis that hangs for a moment while the index is stopped costs no rebuild', async () => {
  const { index, redis, storeId, connection } = await completeIndex({ run: 'second', lastRun: 'first' });
  indexImage(index);
  redis.pause();
  const stopped = index.stop();
  await vi.waitUntil(() => connection.state.state === 'down', { timeout: 10_000 });
  redis.resume();
  await stopped;
  const next = await startRedisIndex(redis.settings, { storeId, run: 'third', lastRun: 'second' });
  expect(next.index.needsRebuild).toBe(false);
  expect(await next.index.totals()).toMatchObject({ bytes: 11, manifests: 1, blobs: 1, records: 1 });
});

test('a Redis that is gone holds up the stop of the index for two seconds at most', async () => {
  const { index, redis } = await completeIndex();
  indexImage(index);
  redis.pause();
  const startedMs = performance.now();
  await index.stop();
  expect(performance.now() - startedMs).toBeLessThan(8_000); // A busy machine is slow.
});

test.each([
  { why: 'its process was killed', lastRun: 'second', othersEnded: false, isCounted: true },
  { why: 'the store was used without it since', lastRun: 'another', othersEnded: true, isCounted: false },
])('a view is rebuilt if $why', async ({ lastRun, othersEnded, isCounted }) => {
  const { index, redis, storeId } = await completeIndex({ run: 'second', lastRun: 'first' });
  indexImage(index);
  await index.stop({ othersEnded });
  const next = await startRedisIndex(redis.settings, { storeId, run: 'third', lastRun });
  expect(next.index.needsRebuild).toBe(true);
  expect(await next.index.isCounted()).toBe(isCounted);
  expect(await next.index.totals()).toMatchObject({ bytes: 11 });
});

test('a view is rebuilt if storage.keep has changed', async () => {
  const { index, redis, storeId } = await completeIndex({ keep: ['a'] });
  await index.stop();
  const next = await startRedisIndex(redis.settings, { storeId, keep: ['b'] });
  expect(next.index.needsRebuild).toBe(true);
  expect(await next.index.isCounted()).toBe(true);
});

test('a view of another version is discarded', async () => {
  const { index, redis, storeId, key } = await completeIndex();
  indexImage(index);
  await index.stop();
  await redis.ask('HSET', key('state'), 'version', '0');
  const next = await startRedisIndex(redis.settings, { storeId });
  expect(next.index.needsRebuild).toBe(true);
  expect(await next.index.totals()).toMatchObject({ bytes: 0 });
});

const losses: Record<string, (redis: TestRedis, key: (name: string) => string) => Promise<unknown>> = {
  'was flushed': (redis) => redis.flush(),
  'evicted one of its keys': (redis, key) => redis.ask('DEL', key('parents')),
  'has failed over and lost the last write': (redis, key) =>
    redis.ask(
      'EVAL',
      `redis.call('HSET', KEYS[1], 'at', (string.gsub(redis.call('HGET', KEYS[1], 'at'), '%d+$', '1')))`,
      '1',
      key('state'),
    ),
  'was restarted empty': (redis) => redis.restart(),
};

test.each(Object.keys(losses))('a Redis that %s is noticed without a query, and the view is rebuilt', async (loss) => {
  const { index, failures, redis, key } = await completeIndex();
  indexImage(index);
  await index.totals();
  await losses[loss]?.(redis, key);
  await lost(index);
  expect(failures).toHaveLength(1);
  await index.whenLost({ signal: never });
  expect(await index.isCounted()).toBe(true);
  expect(await index.totals()).toMatchObject({ bytes: 11, manifests: 1, blobs: 1 });

  index.beginRebuild();
  index.recordStoredContent({ digest: layer, size: 10, isManifest: false, names: [], usedAtMs: 1 });
  await index.endCounting({ signal: never });
  await index.completeRebuild({ signal: never });
  expect(await index.isComplete()).toBe(true);
  expect(await index.totals()).toMatchObject({ bytes: 10, manifests: 0, blobs: 1 });
});

test('a view that another process writes to is lost, and the reason says so', async () => {
  const { index, redis, storeId } = await completeIndex();
  await startRedisIndex(redis.settings, { storeId });
  await lost(index);
  expect(index.lossReason).toContain('another process writes to it');
});

test('while Redis is gone, queries answer at once with what is safe, and the totals count on', async () => {
  const { index, redis } = await completeIndex();
  indexImage(index);
  await index.totals();
  await redis.kill();
  await isAway(index);
  const late = digestOf(Buffer.from('late'));
  index.recordContent({ digest: late, size: 100, isManifest: false, names: [], usedAtMs: 3 });
  index.recordLink({ repositoryId, kind: 'blob', digest: late, mediaType: undefined, size: 100 });
  expect(await index.totals()).toMatchObject({ bytes: 111, blobs: 2, records: 2 });
  expect(await index.hasContent(layer)).toBe(false);
  expect(await index.borrowableLinks(repositoryId, layer, 'blob')).toEqual([]);
  expect(await index.isNeeded({ kind: 'tag', repositoryId, tag: latest })).toBe(true);
  expect(await index.stalestRepository()).toBeUndefined();
  expect(await index.repositories({ last: undefined, limit: 10 })).toBeUndefined();
  expect(await index.isCounted()).toBe(true);
  await index.whenComplete({ signal: never });
});

test('writes buffered while Redis hangs are in the view when it goes on, without a rebuild', async () => {
  const { index, redis, failures } = await completeIndex();
  redis.pause();
  indexImage(index);
  await isAway(index);
  redis.resume();
  await vi.waitUntil(() => index.isComplete(), { timeout: 15_000 });
  expect(await index.evictable(everything)).toMatchObject([{ digest: manifest }]);
  expect(index.needsRebuild).toBe(false);
  expect(failures).toEqual([]);
});

test('a rebuild goes on after Redis did not answer for a moment', async () => {
  const redis = await startRedis();
  const { index, failures } = await startRedisIndex(redis.settings);
  index.beginRebuild();
  redis.pause();
  index.recordStoredContent({ digest: layer, size: 10, isManifest: false, names: [], usedAtMs: 1 });
  const settled = index.settled({ signal: never });
  await vi.waitUntil(() => !index.isOpen);
  redis.resume();
  await settled;
  await index.completeRebuild({ signal: never });
  expect(await index.totals()).toMatchObject({ bytes: 10 });
  expect(failures).toEqual([]);
});

test('a rebuild that waits for Redis ends when it is stopped', async () => {
  const redis = await startRedis();
  const { index } = await startRedisIndex(redis.settings);
  index.beginRebuild();
  await redis.kill();
  await vi.waitUntil(() => !index.isOpen);
  index.recordStoredContent({ digest: layer, size: 10, isManifest: false, names: [], usedAtMs: 1 });
  const stopping = new AbortController();
  const settled = index.settled({ signal: stopping.signal });
  stopping.abort(new Error('stopping'));
  await expect(settled).rejects.toThrow('stopping');
});

test('queries among many writes never take the view for lost, also when Redis has forgotten its scripts', async () => {
  const { index, redis, failures } = await completeIndex({ commandWithinMs: 20_000 });
  const work: Promise<unknown>[] = [];
  for (let number = 0; number < 200; number += 1) {
    const digest = digestOf(Buffer.from(`blob ${number}`));
    index.recordContent({ digest, size: 1, isManifest: false, names: [], usedAtMs: 1 });
    work.push(index.totals(), index.hasContent(digest), index.evictable({ limit: 2 }), index.stalestRepository());
    if (number % 20 === 0) await redis.ask('SCRIPT', 'FLUSH');
    if (number % 3 === 0) work.push(index.forget(digest));
  }
  await Promise.all(work);
  expect(failures).toEqual([]);
  expect(index.needsRebuild).toBe(false);
});

test('a script is given at most 250 manifests that name a digest, however many are not in the view yet', async () => {
  const { index, connection } = await completeIndex({ commandWithinMs: 20_000 });
  const run = connection.run.bind(connection);
  let [longest, asked] = [0, 0];
  connection.run = (call) => {
    if (call.script.name === 'index-borrowable') {
      asked += 1;
      longest = Math.max(longest, call.args?.length ?? 0);
    }
    return run(call);
  };
  const holder = { ...repositoryId, repository: parseRepository('team/holder') };
  index.recordLink({ repositoryId: holder, kind: 'blob', digest: layer, mediaType: undefined, size: 10 });
  for (let number = 0; number < 20_000; number += 1) {
    const digest = digestOf(Buffer.from(`manifest ${number}`));
    index.recordContent({ digest, size: 1, isManifest: true, names: [layer], usedAtMs: 1 });
    if (number === 19_999)
      index.recordLink({ repositoryId, kind: 'manifest', digest, mediaType: ociManifest, size: 1 });
  }
  const found = await Promise.all([1, 2, 3].map(() => index.borrowableLinks(repositoryId, layer, 'blob')));
  for (const links of found) expect(links).toMatchObject([{ repositoryId: holder }]);
  expect(longest).toBeLessThan(260);
  expect(asked).toBeLessThan(12);
});

test('a Redis whose memory is full refuses writes: they are buffered, and written when there is room', async () => {
  const { index, redis } = await completeIndex();
  await redis.fill();
  indexImage(index);
  await isAway(index);
  expect(await index.totals()).toMatchObject({ bytes: 11, manifests: 1, blobs: 1 });
  await redis.empty();
  await vi.waitUntil(async () => (await index.evictable(everything)).length === 1, { timeout: 15_000, interval: 100 });
  expect(index.needsRebuild).toBe(false);
});

test('a Redis that is gone for long does not fill the memory: the view must be rebuilt then, and the totals are kept', async () => {
  const { index, redis, failures } = await completeIndex({ maxBufferedWrites: 500 });
  await redis.kill();
  await isAway(index);
  for (let number = 0; number < 1_200; number += 1) {
    const digest = digestOf(Buffer.from(`blob ${number}`));
    index.recordContent({ digest, size: 1, isManifest: false, names: [], usedAtMs: 1 });
  }
  expect(index.needsRebuild).toBe(true);
  expect(failures).toMatchObject([{ message: expect.stringContaining('dropped') }]);
  expect(await index.totals()).toMatchObject({ bytes: 1_200, blobs: 1_200 });
  await redis.start();
  await index.whenLost({ signal: never });
});

test('a start without Redis counts the store itself, and takes the view over when Redis answers', async () => {
  const { index: former, redis, storeId } = await completeIndex();
  indexImage(former);
  await former.stop();
  redis.pause();
  const uncounted = { manifestBytes: 0, keptBytes: 0, manifests: 0 };
  const counted: Totals = { ...uncounted, bytes: 11, diskBytes: 8192, blobs: 2, records: 1 };
  const { index } = await startRedisIndex(redis.settings, { storeId, countStore: async () => counted });
  await index.whenCounted({ signal: never });
  expect(await index.totals()).toEqual(counted);
  index.recordContent({ digest: digestOf(Buffer.from('new')), size: 5, isManifest: false, names: [], usedAtMs: 9 });
  expect(await index.totals()).toMatchObject({ bytes: 16, blobs: 3 });
  redis.resume();
  await vi.waitUntil(() => index.isComplete(), { timeout: 15_000 });
  expect(await index.totals()).toMatchObject({ bytes: 16, manifests: 1, blobs: 2 });
});

test('content that was forgotten while Redis did not answer is not in the view afterwards', async () => {
  const { index, redis } = await completeIndex();
  indexImage(index);
  expect(await index.evictable(everything)).toHaveLength(1);
  redis.pause();
  expect(await index.forget(manifest)).toEqual([]);
  expect(await index.totals()).toMatchObject({ bytes: 10, manifests: 0, blobs: 1 });
  redis.resume();
  await vi.waitUntil(() => index.isComplete(), { timeout: 15_000 });
  expect(await index.evictable(everything)).toMatchObject([{ digest: layer }]);
  expect(await index.totals()).toMatchObject({ bytes: 10, manifests: 0, blobs: 1 });
});
