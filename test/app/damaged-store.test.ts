import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import type { RecordKey } from '../../src/mirror/ports.ts';
import { parseRepository, parseTag } from '../../src/oci/reference.ts';
import { ask, open } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { type Image, image } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';
import { blobFile, recordFile, storeOnDisk } from '../support/store-on-disk.ts';

const repository = 'library/app';
const of = { upstream: 'docker.io', repository: parseRepository(repository) };

interface Pulled {
  readonly upstream: FakeRegistry;
  readonly app: RunningApp;
  readonly held: Image;
  readonly layer: Image['blobs'][number];
}

/** An image that was pulled and kept, and nothing of it in memory. */
async function pulled(more: MirrorConfig = {}): Promise<Pulled> {
  const upstream = await startFakeRegistry();
  const held = image({ layerBytes: 300_000 });
  upstream.content.add(repository, '1', held);
  const app = await startApp(mirrorOf(upstream, more));
  await pullAll(app, repository, '1');
  await app.restart();
  upstream.forgetRequests();
  const layer = held.blobs[1];
  if (!layer) throw new Error('an image has a layer');
  return { upstream, app, held, layer };
}

async function changeOneByte(file: string): Promise<void> {
  const bytes = await readFile(file);
  bytes.writeUInt8(bytes.readUInt8(100) ^ 1, 100);
  await writeFile(file, bytes);
}

test('a stored blob of another size than it had is set aside, told of, and fetched again', async () => {
  const { upstream, app, layer } = await pulled();
  await truncate(blobFile(app.dataDirectory, layer.digest), 100);
  const answer = await ask(app, `/v2/${repository}/blobs/${layer.digest}`);
  expect(answer.body.equals(layer.bytes)).toBe(true);
  expect(upstream.requests.map(({ method }) => method)).toEqual(['GET']);
  expect((await app.metrics()).sum('layerwell_cache_corruptions_total')).toBe(1);
  await app.stop();
  expect((await storeOnDisk(app.dataDirectory)).setAside).toHaveLength(1);
});

test('with verifyReads, a stored blob whose bytes have changed never leaves as a whole, and the next pull is right', async () => {
  const { app, layer } = await pulled({ storage: { verifyReads: true } });
  await changeOneByte(blobFile(app.dataDirectory, layer.digest));
  const path = `/v2/${repository}/blobs/${layer.digest}`;
  const first = await open(app, path);
  await expect(first.rest()).rejects.toThrow('cut');
  expect(first.receivedBytes).toBeLessThan(layer.bytes.length);
  expect((await ask(app, path)).body.equals(layer.bytes)).toBe(true);
  expect((await app.metrics()).sum('layerwell_cache_corruptions_total')).toBe(1);
});

test.each([
  { what: 'changed', damage: changeOneByte },
  { what: 'truncated', damage: (file: string) => truncate(file, 10) },
  { what: 'gone', damage: (file: string) => rm(file) },
])('a stored manifest that is $what is fetched again', async ({ damage }) => {
  const { upstream, app, held } = await pulled();
  await damage(blobFile(app.dataDirectory, held.manifest.digest));
  const answer = await ask(app, `/v2/${repository}/manifests/1`);
  expect(answer.body.equals(held.manifest.bytes)).toBe(true);
  expect(upstream.requests.map(({ method }) => method)).toEqual(['GET']);
});

test('a stored blob that somebody removed is fetched again', async () => {
  const { upstream, app, layer } = await pulled();
  await rm(blobFile(app.dataDirectory, layer.digest));
  const head = await ask(app, `/v2/${repository}/blobs/${layer.digest}`, { method: 'HEAD' });
  expect(head.headers['content-length']).toBe(String(layer.bytes.length));
  const answer = await ask(app, `/v2/${repository}/blobs/${layer.digest}`);
  expect(answer.body.equals(layer.bytes)).toBe(true);
  expect(upstream.requests.map(({ method }) => method)).toEqual(['HEAD', 'GET']);
});

const records: readonly { readonly what: string; readonly key: (made: Pulled) => RecordKey }[] = [
  { what: 'a tag', key: () => ({ kind: 'tag', of, tag: parseTag('1') }) },
  { what: 'a manifest', key: ({ held }) => ({ kind: 'manifest', of, digest: held.manifest.digest }) },
  { what: 'a blob', key: ({ layer }) => ({ kind: 'blob', of, digest: layer.digest }) },
];

test.each(records)('where the record of $what cannot be read, the image is still pulled whole', async ({ key }) => {
  const made = await pulled();
  await writeFile(recordFile(made.app.dataDirectory, key(made)), '{"digest": tru');
  expect((await pullAll(made.app, repository, '1')).digest).toBe(made.held.manifest.digest);
});

test('with the index lost, everything cached is served though the upstream is down', async () => {
  const { upstream, app } = await pulled();
  await upstream.stop();
  await app.stop();
  for (const end of ['', '-wal', '-shm']) await rm(`${app.dataDirectory}/index.sqlite${end}`, { force: true });
  await app.start(mirrorOf(upstream));
  const { parts } = await pullAll(app, repository, '1');
  expect([...parts.values()].map(({ cache }) => cache)).toEqual([...parts.keys()].map(() => 'hit'));
});
