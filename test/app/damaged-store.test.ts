import { appendFile, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { RecordKey } from '../../src/mirror/ports/record-store.ts';
import { parseRepository, parseTag } from '../../src/oci/reference.ts';
import { ask, open } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { type Image, image } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';
import { blobFile, recordFile, storeOnDisk } from '../support/store-on-disk.ts';

const repository = 'library/app';
const repositoryId = { upstream: 'docker.io', repository: parseRepository(repository) };

interface Pulled {
  readonly upstream: FakeRegistry;
  readonly app: RunningApp;
  readonly held: Image;
  readonly layer: Image['blobs'][number];
}

/** A stored image that is not in memory. Only reads look for damage. */
async function pulled(storage: MirrorConfig = {}): Promise<Pulled> {
  const upstream = await startFakeRegistry();
  const held = image({ layerBytes: 300_000 });
  upstream.content.add(repository, '1', held);
  const app = await startApp(mirrorOf(upstream, { storage: { scrubEvery: 'forever', ...storage } }));
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

test.each([
  { what: 'truncated', damage: (file: string) => truncate(file, 100) },
  { what: 'grown', damage: (file: string) => appendFile(file, 'more') },
])('a stored blob whose file was $what is quarantined, reported, and fetched again', async ({ damage }) => {
  const { upstream, app, layer } = await pulled();
  await damage(blobFile(app.dataDirectory, layer.digest));
  const answer = await ask(app, `/v2/${repository}/blobs/${layer.digest}`);
  expect(answer.body.equals(layer.bytes)).toBe(true);
  expect(upstream.requests.map(({ method }) => method)).toEqual(['GET']);
  expect((await app.metrics()).sum('layerwell_cache_corruptions_total')).toBe(1);
  await app.stop();
  expect((await storeOnDisk(app.dataDirectory)).quarantine).toHaveLength(1);
});

test.each([
  { head: 'tells its size', fault: {} },
  { head: 'does not tell its size', fault: { contentLength: 'absent' } },
] as const)(
  'a truncated blob is never served as complete to another repository, whose upstream $head',
  async ({ fault }) => {
    const { upstream, app, layer } = await pulled();
    upstream.content.addBlob('library/other', layer);
    upstream.script({ method: 'HEAD' }, fault);
    await truncate(blobFile(app.dataDirectory, layer.digest), 100);
    const path = `/v2/library/other/blobs/${layer.digest}`;
    await ask(app, path).then(
      ({ body }) => expect(body.equals(layer.bytes)).toBe(true),
      (cut: unknown) => expect(String(cut)).toContain('cut'),
    );
    expect((await ask(app, path)).body.equals(layer.bytes)).toBe(true);
  },
);

test('with verifyReads, a stored blob with changed bytes is never served as complete, and the next pull is right', async () => {
  const { app, layer } = await pulled({ verifyReads: true });
  await changeOneByte(blobFile(app.dataDirectory, layer.digest));
  const path = `/v2/${repository}/blobs/${layer.digest}`;
  const first = await open(app, path);
  await expect(first.rest()).rejects.toThrow('cut');
  expect(first.receivedBytes).toBeLessThan(layer.bytes.length);
  expect((await ask(app, path)).body.equals(layer.bytes)).toBe(true);
  expect((await app.metrics()).sum('layerwell_cache_corruptions_total')).toBe(1);
});

test.each([
  { what: 'changed', damage: changeOneByte, corruptions: 1 },
  { what: 'truncated', damage: (file: string) => truncate(file, 10), corruptions: 1 },
  { what: 'gone', damage: (file: string) => rm(file), corruptions: 0 },
])('a stored manifest that is $what is fetched again', async ({ damage, corruptions }) => {
  const { upstream, app, held } = await pulled();
  await damage(blobFile(app.dataDirectory, held.manifest.digest));
  const answer = await ask(app, `/v2/${repository}/manifests/1`);
  expect(answer.body.equals(held.manifest.bytes)).toBe(true);
  expect(upstream.requests.map(({ method }) => method)).toEqual(['GET']);
  expect((await app.metrics()).sum('layerwell_cache_corruptions_total')).toBe(corruptions);
  await app.stop();
  expect((await storeOnDisk(app.dataDirectory)).quarantine).toHaveLength(corruptions);
});

test('a stored blob whose file was removed is fetched again', async () => {
  const { upstream, app, layer } = await pulled();
  await rm(blobFile(app.dataDirectory, layer.digest));
  const head = await ask(app, `/v2/${repository}/blobs/${layer.digest}`, { method: 'HEAD' });
  expect(head.headers['content-length']).toBe(String(layer.bytes.length));
  const answer = await ask(app, `/v2/${repository}/blobs/${layer.digest}`);
  expect(answer.body.equals(layer.bytes)).toBe(true);
  expect(upstream.requests.map(({ method }) => method)).toEqual(['HEAD', 'GET']);
});

const records: readonly { readonly what: string; readonly key: (made: Pulled) => RecordKey }[] = [
  { what: 'a tag', key: () => ({ kind: 'tag', repositoryId, tag: parseTag('1') }) },
  { what: 'a manifest', key: ({ held }) => ({ kind: 'manifest', repositoryId, digest: held.manifest.digest }) },
  { what: 'a blob', key: ({ layer }) => ({ kind: 'blob', repositoryId, digest: layer.digest }) },
];

test.each(records)('when the record of $what cannot be read, the image is still pulled whole', async ({ key }) => {
  const made = await pulled();
  await writeFile(recordFile(made.app.dataDirectory, key(made)), '{"digest": tru');
  expect((await pullAll(made.app, repository, '1')).digest).toBe(made.held.manifest.digest);
});

test('files that an earlier process left in incoming/ are removed at start, and cached content stays', async () => {
  const { app, held } = await pulled();
  await app.stop();
  const junk = join(app.dataDirectory, 'incoming', 'left-by-a-crash');
  await writeFile(junk, 'half a blob');
  await app.restart();
  const { incoming, blobs } = await storeOnDisk(app.dataDirectory);
  expect(incoming).toEqual([]);
  expect(blobs.size).toBe(1 + held.blobs.length);
  expect((await app.metrics()).sum('layerwell_storage_pending_bytes')).toBe(0);
});

test('a stored manifest that the scrubber finds damaged is written again from memory, and survives a restart', async () => {
  const upstream = await startFakeRegistry();
  const held = image();
  upstream.content.add(repository, '1', held);
  const app = await startApp(mirrorOf(upstream, { storage: { scrubEvery: '1s' } }));
  await pullAll(app, repository, '1');
  const file = blobFile(app.dataDirectory, held.manifest.digest);
  const isRight = async () => (await readFile(file).catch(() => Buffer.alloc(0))).equals(held.manifest.bytes);
  await expect.poll(isRight).toBe(true);
  await changeOneByte(file);
  await expect.poll(isRight, { timeout: 10_000 }).toBe(true);
  expect((await app.metrics()).sum('layerwell_cache_corruptions_total', { source: 'scrub' })).toBe(1);
  await upstream.stop();
  await app.restart();
  await pullAll(app, repository, '1');
});

test('a small blob with changed bytes is never served: it is quarantined, and fetched again', async () => {
  const { upstream, app, held } = await pulled();
  const config = held.blobs[0];
  if (!config) throw new Error('an image has a config');
  await writeFile(blobFile(app.dataDirectory, config.digest), Buffer.alloc(config.bytes.byteLength, 1));
  const answer = await ask(app, `/v2/${repository}/blobs/${config.digest}`);
  expect(answer.body.equals(config.bytes)).toBe(true);
  expect(upstream.requests.map(({ method }) => method)).toEqual(['GET']);
  expect((await app.metrics()).sum('layerwell_cache_corruptions_total')).toBe(1);
});
