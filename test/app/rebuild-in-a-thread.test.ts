import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { writeLargeStore } from '../support/large-store.ts';
import { pullAll } from '../support/pull.ts';
import { mirrorOf, type RunningMirror, startMirror } from '../support/start-mirror.ts';

const app = image({ layers: 2, layerBytes: 100_000 });

async function catalogueOf(mirror: RunningMirror): Promise<string> {
  return (await ask(mirror, '/v2/_catalog')).body.toString();
}

async function stateOf({ managementUrl }: RunningMirror): Promise<unknown> {
  return JSON.parse((await ask({ url: managementUrl }, '/readyz')).body.toString()).index;
}

test('a process that lost its index rebuilds it from what a thread reads, and ends in order when it is stopped at once', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add('library/app', '1', app);
  const mirror = await startMirror(mirrorOf(upstream));
  await pullAll(mirror, 'library/app', '1');
  const before = await catalogueOf(mirror);
  await mirror.stop();
  writeLargeStore(mirror.dataDirectory, { images: 100, layers: 9, repositories: 50 });
  const index = join(mirror.dataDirectory, 'index.sqlite');

  await rm(index);
  await mirror.start(mirror.config);
  expect(await mirror.stop()).toMatchObject({ code: 0 });

  await rm(index);
  await mirror.start(mirror.config);
  await expect.poll(() => stateOf(mirror), { timeout: 20_000 }).toBe('ok');
  expect(JSON.parse(await catalogueOf(mirror)).repositories).toHaveLength(51);
  expect(await catalogueOf(mirror)).toContain(JSON.parse(before).repositories[0]);
  expect((await mirror.metrics()).sum('layerwell_cache_objects')).toBe(1_000 + 1 + app.blobs.length);
  expect(mirror.logLines().filter(({ level }) => Number(level) >= 50)).toEqual([]);
});
