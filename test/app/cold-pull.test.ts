import { expect, test } from 'vitest';
import { acceptedManifests } from '../../src/oci/media-types.ts';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { emptyBlobArtifact, image, multiPlatformImage, randomBlob } from '../support/images.ts';
import { get, pullAll, pullBlob } from '../support/pull.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { storeOnDisk } from '../support/store-on-disk.ts';

const repository = 'library/app';
const stored = 'fwd=uri-miss; fwd-status=200; stored';

test('a first pull downloads every part of an image with one upstream request each, and stores it all', async () => {
  const upstream = await startFakeRegistry();
  const held = multiPlatformImage();
  upstream.content.add(repository, '1', held);
  const app = await startApp(mirrorOf(upstream));
  const { digest, parts } = await pullAll(app, repository, '1');
  expect(digest).toBe(held.manifest.digest);
  const all = [held.manifest, ...held.children, ...held.blobs].map((part) => part.digest).toSorted();
  expect([...parts.keys()].toSorted()).toEqual(all);
  expect([...parts.values()].map(({ cache }) => cache)).toEqual(all.map(() => stored));
  expect(upstream.count()).toBe(all.length);

  await app.stop();
  const disk = await storeOnDisk(app.dataDirectory);
  expect([...disk.blobs.keys()].toSorted()).toEqual(all);
  expect([...disk.blobs.values()].every(({ isWhole }) => isWhole)).toBe(true);
  expect(disk.incoming).toEqual([]);
});

test("the upstream request for a tag does not depend on the client's Accept header", async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image());
  upstream.content.add(repository, '2', image({ name: 'other' }));
  const app = await startApp(mirrorOf(upstream));
  const picky = { headers: { accept: 'application/vnd.docker.distribution.manifest.v2+json' } };
  expect((await get(app, `/v2/${repository}/manifests/1`, picky)).status).toBe(200);
  expect((await get(app, `/v2/${repository}/manifests/2`)).status).toBe(200);
  const asked = upstream.seen('GET', /\/manifests\//).map(({ headers }) => headers.accept);
  expect(asked).toEqual([acceptedManifests.join(', '), acceptedManifests.join(', ')]);
});

test('a HEAD of an uncached blob is a HEAD upstream, never a download', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(100_000);
  upstream.content.addBlob(repository, blob);
  const app = await startApp(mirrorOf(upstream));
  const { status, headers } = await ask(app, `/v2/${repository}/blobs/${blob.digest}`, { method: 'HEAD' });
  expect(status).toBe(200);
  expect(headers['content-length']).toBe('100000');
  expect(headers['docker-content-digest']).toBe(blob.digest);
  expect(upstream.requests.map(({ method }) => method)).toEqual(['HEAD']);
});

test('a HEAD of an uncached blob has the size from its manifest if the upstream sends none', async () => {
  const upstream = await startFakeRegistry();
  const pulled = image();
  upstream.content.add(repository, '1', pulled);
  const layer = pulled.blobs.at(-1);
  upstream.script({ method: 'HEAD', path: /blobs/ }, { withoutHeaders: ['content-length'] });
  const app = await startApp(mirrorOf(upstream));
  await ask(app, `/v2/${repository}/manifests/1`);
  const { headers } = await ask(app, `/v2/${repository}/blobs/${layer?.digest}`, { method: 'HEAD' });
  expect(headers['content-length']).toBe(String(layer?.bytes.length));
});

test('a HEAD of an uncached tag or digest is a HEAD upstream', async () => {
  const upstream = await startFakeRegistry();
  const { manifest } = image();
  upstream.content.add(repository, '1', image());
  const app = await startApp(mirrorOf(upstream));
  for (const reference of ['1', manifest.digest]) {
    const answer = await ask(app, `/v2/${repository}/manifests/${reference}`, { method: 'HEAD' });
    expect(answer.status).toBe(200);
    expect(answer.headers['docker-content-digest']).toBe(manifest.digest);
    expect(answer.headers['content-type']).toBe(manifest.mediaType);
    expect(answer.headers['content-length']).toBe(String(manifest.bytes.length));
  }
  expect(upstream.requests.map(({ method }) => method)).toEqual(['HEAD', 'HEAD']);
});

test.each([['docker-content-digest'], ['content-length']])(
  'a HEAD of a tag causes a GET if the HEAD of the upstream lacks %s',
  async (missing) => {
    const upstream = await startFakeRegistry();
    const { manifest } = image();
    upstream.content.add(repository, '1', image());
    upstream.script({ method: 'HEAD' }, { withoutHeaders: [missing] });
    const app = await startApp(mirrorOf(upstream));
    const answer = await ask(app, `/v2/${repository}/manifests/1`, { method: 'HEAD' });
    expect(answer.headers['docker-content-digest']).toBe(manifest.digest);
    expect(answer.headers['content-length']).toBe(String(manifest.bytes.length));
    expect(upstream.requests.map(({ method }) => method)).toEqual(['HEAD', 'GET']);
  },
);

test('an empty blob is pulled and stored like any other', async () => {
  const upstream = await startFakeRegistry();
  const held = emptyBlobArtifact();
  upstream.content.add(repository, '1', held);
  const app = await startApp(mirrorOf(upstream));
  await pullAll(app, repository, '1');
  await app.quiet();
  const [, empty] = held.blobs;
  const again = await ask(app, `/v2/${repository}/blobs/${empty?.digest}`);
  expect(again).toMatchObject({ status: 200, cache: 'hit', headers: { 'content-length': '0' } });
  expect(again.body).toHaveLength(0);
});

test('a layer with a sha512 digest is verified and stored by it', async () => {
  const upstream = await startFakeRegistry();
  const held = image({ algorithm: 'sha512' });
  upstream.content.add(repository, '1', held);
  const app = await startApp(mirrorOf(upstream));
  await pullAll(app, repository, '1');
  await app.quiet();
  const layer = held.blobs[1];
  expect(layer?.digest).toMatch(/^sha512:/);
  expect((await get(app, `/v2/${repository}/blobs/${layer?.digest}`)).cache).toBe('hit');
});

test('a blob of unknown size is sent in chunks, whole, and the next pull has a Content-Length', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(300_000);
  upstream.content.addBlob(repository, blob);
  upstream.script({ path: /\/blobs\// }, { contentLength: 'absent' });
  const app = await startApp(mirrorOf(upstream));
  const first = await ask(app, `/v2/${repository}/blobs/${blob.digest}`);
  expect(first.headers['transfer-encoding']).toBe('chunked');
  expect(first.body.equals(blob.bytes)).toBe(true);
  await app.quiet();
  const second = await ask(app, `/v2/${repository}/blobs/${blob.digest}`);
  expect(second).toMatchObject({ cache: 'hit', headers: { 'content-length': '300000' } });
});

test('a blob whose size only its manifest names has a Content-Length from its first pull on', async () => {
  const upstream = await startFakeRegistry();
  const held = image({ layerBytes: 300_000 });
  upstream.content.add(repository, '1', held);
  upstream.script({ path: /\/blobs\// }, { contentLength: 'absent' });
  const app = await startApp(mirrorOf(upstream));
  await get(app, `/v2/${repository}/manifests/1`);
  for (const { digest, bytes } of held.blobs) {
    expect((await pullBlob(app, repository, digest)).headers.get('content-length')).toBe(String(bytes.length));
  }
});
