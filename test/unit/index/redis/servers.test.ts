import { expect, test, vi } from 'vitest';
import type { RedisIndex } from '../../../../src/index/redis/redis-index.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { everything, indexImage, layer, manifest, repositoryId } from '../../../support/indexed-image.ts';
import { startRedisCluster, startSentinels } from '../../../support/redis-servers.ts';
import { startRedisIndex } from '../../../support/redis-index.ts';
import { never } from '../../../support/sqlite-index.ts';
import { keyCount } from '../../../../src/index/redis/view-layout.ts';

/** As many keys as a view has, as Redis counts them. */
const every = String(keyCount);

const waiting = { timeout: 40_000, interval: 50 };

/** What a rebuild from the store does. */
async function rebuild(index: RedisIndex): Promise<void> {
  index.beginRebuild();
  indexImage(index);
  await index.endCounting({ signal: never });
  await index.completeRebuild({ signal: never });
}

test('a failover loses nothing that the replica has, and what is written meanwhile is in the view afterwards', async () => {
  const sentinels = await startSentinels();
  const { index } = await startRedisIndex(sentinels.settings);
  await vi.waitUntil(() => index.isOpen, waiting);
  await rebuild(index);
  const replicated = () => Promise.all(sentinels.servers.map((server) => server.ask('DBSIZE')));
  await expect.poll(replicated, waiting).toEqual([every, every]);
  await (await sentinels.primary()).kill();
  const late = digestOf(Buffer.from('late'));
  index.recordContent({ digest: late, size: 5, isManifest: false, names: [], usedAtMs: 1 });
  await vi.waitUntil(() => index.isOpen === false, waiting);
  expect(await index.totals()).toMatchObject({ bytes: 16 });
  await vi.waitUntil(() => index.isOpen, waiting);
  if (index.needsRebuild) await rebuild(index); // A write that was on its way may have been lost.
  expect(await index.totals()).toMatchObject({ bytes: 16, manifests: 1, blobs: 2 });
  expect((await index.evictable(everything)).map(({ digest }) => digest)).toEqual([late, manifest]);
});

test('a failover to a replica that lacks writes is noticed, and the view is rebuilt', async () => {
  const sentinels = await startSentinels();
  const { index, failures } = await startRedisIndex(sentinels.settings);
  await vi.waitUntil(() => index.isOpen, waiting);
  await rebuild(index);
  const primary = await sentinels.primary();
  const replica = sentinels.servers.find((server) => server !== primary);
  // It hangs while the primary takes one more write, which it therefore never gets.
  replica?.pause();
  index.recordUse(manifest, 3);
  await index.evictable(everything);
  await primary.kill();
  replica?.resume();
  await vi.waitUntil(() => index.isOpen && index.needsRebuild, waiting);
  expect(failures).toMatchObject([{ message: expect.stringMatching(/lost some of it|lost it/) }]);
  await rebuild(index);
  expect(await index.isComplete()).toBe(true);
});

test('a Cluster whose node with the view is gone is no error, and the view is rebuilt when it is back', async () => {
  const cluster = await startRedisCluster();
  const { index } = await startRedisIndex(cluster.settings);
  await vi.waitUntil(() => index.isOpen, waiting);
  await rebuild(index);
  const keys = await Promise.all(cluster.nodes.map((node) => node.ask('DBSIZE')));
  expect(keys.toSorted()).toEqual(['0', '0', every]);
  const node = cluster.nodes[keys.indexOf(every)];
  await node?.kill();
  await vi.waitUntil(async () => !(await index.hasContent(layer)), waiting);
  expect(await index.totals()).toMatchObject({ bytes: 11 });
  expect(await index.isNeeded({ kind: 'blob', repositoryId, digest: layer })).toBe(true);
  await node?.start();
  await vi.waitUntil(() => index.isOpen && index.needsRebuild, waiting);
  await rebuild(index);
  expect(await index.isComplete()).toBe(true);
});
