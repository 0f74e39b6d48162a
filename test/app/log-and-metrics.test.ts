import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { get, pullAll } from '../support/pull.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf, startMirror } from '../support/start-mirror.ts';

const repository = 'library/app';

test('every request has one line in the log, without its query', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image({ layerBytes: 300_000 }));
  const mirror = await startMirror(mirrorOf(upstream));
  const { parts } = await pullAll(mirror, repository, '1');
  await get(mirror, `/v2/${repository}/manifests/1?ns=docker.io&token=hidden-secret`);
  await get(mirror, '/v2/?hidden-secret');
  await get(mirror, '/elsewhere?hidden-secret');
  const size = parts.size + 3;
  await mirror.logged(() => mirror.logLines().filter(({ msg }) => msg === 'request').length >= size);

  const lines = mirror.logLines().filter(({ msg }) => msg === 'request');
  expect(lines).toHaveLength(size);
  expect(lines[0]).toMatchObject({
    method: 'GET',
    path: `/v2/${repository}/manifests/1`,
    status: 200,
    cache: 'miss',
    upstream: 'docker.io',
    repository,
    reference: '1',
    client: '127.0.0.1',
    aborted: false,
  });
  expect(lines.map(({ path }) => path)).toContain('/elsewhere');
  expect(JSON.stringify(mirror.logLines())).not.toContain('hidden-secret');
});

test('an operator sees how many bytes of the store are manifests, and how many are blobs', async () => {
  const upstream = await startFakeRegistry();
  const pulled = image();
  upstream.content.add(repository, '1', pulled);
  const app = await startApp(mirrorOf(upstream));
  await pullAll(app, repository, '1');
  await app.quiet();
  const metrics = await app.metrics();
  const stored = ['manifest', 'blob'].map((kind) => metrics.sum('layerwell_cache_bytes', { kind }));
  const blobBytes = pulled.blobs.reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
  expect(stored).toEqual([pulled.manifest.bytes.byteLength, blobBytes]);
});

test('an operator sees how downloads of manifests and of blobs ended, each by itself', async () => {
  const upstream = await startFakeRegistry();
  const [pulled, damaged] = [image(), image({ name: 'damaged' })];
  upstream.content.add(repository, '1', pulled);
  upstream.content.add(repository, '2', damaged);
  const app = await startApp(mirrorOf(upstream));
  await pullAll(app, repository, '1');
  await app.quiet();
  upstream.script({ path: /manifests/ }, { body: () => Buffer.from('{}') });
  await get(app, `/v2/${repository}/manifests/${damaged.manifest.digest}`);
  const metrics = await app.metrics();
  const ends = (kind: string, result: string) => metrics.sum('layerwell_cache_fills_by_kind_total', { kind, result });
  expect([ends('manifest', 'ok'), ends('manifest', 'digest_mismatch')]).toEqual([1, 1]);
  expect([ends('blob', 'ok'), ends('blob', 'digest_mismatch')]).toEqual([pulled.blobs.length, 0]);
});

/** Names, types and labels of the table on the page. */
async function documented(): Promise<
  ReadonlyMap<string, { readonly type: string; readonly labels: readonly string[] }>
> {
  const page = await readFile('docs/metrics.md', 'utf8');
  const rows = [...page.matchAll(/^\| `(layerwell_\w+)` \| (\w+) \| (.*?) \| (.+) \|$/gm)];
  return new Map(
    rows.map(([, name = '', type = '', labels = '']) => [
      name,
      { type, labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label = '']) => label) },
    ]),
  );
}

test('/metrics has the documented metrics and no others, with their types and labels', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image());
  const mirror = await startMirror(mirrorOf(upstream));
  await pullAll(mirror, repository, '1');
  await get(mirror, `/v2/${repository}/manifests/none`);
  const page = await documented();
  const text = (await get({ url: mirror.managementUrl }, '/metrics')).bytes.toString('utf8');

  const types = [...text.matchAll(/^# TYPE (layerwell_\w+) (\w+)$/gm)].map(([, name, type]) => `${name} ${type}`);
  // Metrics without a series are left out. That the page has all of the code's is tested beside the page.
  const documentedTypes = new Set([...page].map(([name, { type }]) => `${name} ${type}`));
  expect(types.filter((type) => !documentedTypes.has(type))).toEqual([]);
  expect(types.length).toBeGreaterThan(50);
  const series = [...text.matchAll(/^(layerwell_\w+?)(?:_bucket|_sum|_count)?\{(.+)\} \S+$/gm)];
  expect(series.length).toBeGreaterThan(20);
  for (const [, name = '', labels = ''] of series) {
    const used = [...labels.matchAll(/(\w+)="/g)].map(([, label = '']) => label).filter((label) => label !== 'le');
    expect({ name, used: used.toSorted() }).toEqual({ name, used: page.get(name)?.labels.toSorted() });
  }
});
