import { expect, test } from 'vitest';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { multiPlatformImage } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { startApp } from '../support/start-app.ts';

const repository = 'ghcr.io/org/app';

/** A mirror of a region, and one of an edge that asks it before the registry: both know two registries. */
async function start() {
  const [registry, other] = [await startFakeRegistry(), await startFakeRegistry()];
  const held = multiPlatformImage();
  registry.content.add('org/app', '1', held);
  other.content.add('org/app', '1', multiPlatformImage('other'));
  const regional = await startApp({ upstreams: { 'quay.io': { url: other.url }, 'ghcr.io': { url: registry.url } } });
  const mirrors = [{ url: regional.url, tags: true, forwardNs: true }];
  const edgeConfig = {
    upstreams: { 'quay.io': { url: other.url, mirrors }, 'ghcr.io': { url: registry.url, mirrors } },
  };
  return { registry, other, held, regional, startEdge: () => startApp(edgeConfig) };
}

test('mirrors behind a mirror pull each image once from its registry, and ask for it by the name of that registry', async () => {
  const { registry, other, held, startEdge } = await start();
  const edges = [await startEdge(), await startEdge()];

  for (const edge of edges) expect((await pullAll(edge, repository, '1')).digest).toBe(held.manifest.digest);

  expect(registry.count('GET', /\/blobs\//)).toBe(held.blobs.length);
  expect(registry.count('GET', /\/manifests\//)).toBe(1 + held.children.length);
  expect(other.count()).toBe(0);
});

test('while the mirror of the region is gone, the registry itself is asked', async () => {
  const { registry, held, regional, startEdge } = await start();
  const edge = await startEdge();
  await regional.stop();

  expect((await pullAll(edge, repository, '1')).digest).toBe(held.manifest.digest);

  expect(registry.count('GET', /\/blobs\//)).toBe(held.blobs.length);
});
