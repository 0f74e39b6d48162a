import { randomBytes } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ociManifest } from '../../src/oci/media-types.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { type Content, content, image, randomBlob } from '../support/images.ts';
import { longestTurnMs } from '../support/longest-turn.ts';
import { pullBlob, pullManifest } from '../support/pull.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';

const mib = 1024 * 1024;
const layer = randomBlob(100_000, 'honest layer');

/** A valid manifest with this many layers, each with a digest that does not exist. */
function manifestOf(layers: number): Content {
  const digests = randomBytes(32 * layers).toString('hex');
  const listed = Array.from(
    { length: layers },
    (_, at) => `{"mediaType":"a","digest":"sha256:${digests.slice(64 * at, 64 * at + 64)}","size":1}`,
  );
  return content(
    ociManifest,
    Buffer.from(`{"schemaVersion":2,"mediaType":"${ociManifest}","layers":[${listed.join(',')}]}`),
  );
}

async function indexBytes(app: RunningApp): Promise<number> {
  const files = (await readdir(app.dataDirectory)).filter((name) => name.startsWith('index.sqlite'));
  const names = files.filter((name) => name !== 'index.sqlite.reserve');
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(app.dataDirectory, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** A mirror of an honest registry, and of one whose manifests are given. */
async function mirrorBeside(manifests: readonly Content[]): Promise<RunningApp> {
  const [honest, evil] = [await startFakeRegistry(), await startFakeRegistry()];
  honest.content.add('team/app', '1', { ...image(), blobs: [layer] });
  for (const manifest of manifests) {
    evil.content.add('huge', manifest.digest.slice(7), { manifest, children: [], blobs: [] });
  }
  return startApp({
    defaultUpstream: 'honest.test',
    upstreams: { 'honest.test': { url: honest.url }, 'evil.test': { url: evil.url } },
    storage: { minFree: '0B' },
  });
}

/** Four clients at a time: they, the registry and the mirror share one thread here, and its longest turn is measured. */
async function pullManifestsOf(app: RunningApp, manifests: readonly Content[]): Promise<void> {
  const left = manifests.values();
  const client = async (): Promise<void> => {
    for (const { digest } of left) await pullManifest(app, 'evil.test/huge', digest);
  };
  await Promise.all(Array.from({ length: 4 }, client));
}

test.each([
  { what: '24 manifests of 4 MiB with 38,000 layers', count: 24, layers: 38_000 },
  { what: '48 manifests of 1 MiB with 9,000 layers', count: 48, layers: 9_000 },
])(
  '$what from one upstream neither delay a cold blob of another nor fill the index',
  async ({ count, layers }) => {
    const manifests = Array.from({ length: count }, () => manifestOf(layers));
    const app = await mirrorBeside(manifests);
    const stored = manifests.reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
    let blobMs = Infinity;
    const longest = await longestTurnMs(async () => {
      await pullManifestsOf(app, manifests);
      const startedAtMs = performance.now();
      await pullBlob(app, 'honest.test/team/app', layer.digest);
      blobMs = performance.now() - startedAtMs;
    });
    expect(blobMs).toBeLessThan(1_000);
    expect(longest).toBeLessThan(150);
    await app.quiet();
    await app.stop();
    expect(await indexBytes(app)).toBeLessThan(Math.min(40 * mib, stored / 4));

    const startedAtMs = performance.now();
    await app.restart();
    expect(performance.now() - startedAtMs).toBeLessThan(2_000);
    expect((await app.metrics()).sum('layerwell_cache_bytes')).toBe(stored + layer.bytes.byteLength);
  },
  180_000,
);

test('a manifest with more digests than are indexed is served from the store while its registry is down', async () => {
  const manifest = manifestOf(38_000);
  const app = await mirrorBeside([manifest]);
  await pullManifestsOf(app, [manifest]);
  await app.quiet();
  await app.restart();
  expect((await pullManifest(app, 'evil.test/huge', manifest.digest)).cache).toMatch(/^hit/);
});
