import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ociManifest } from '../../src/oci/media-types.ts';
import { blobPath } from '../../src/storage/layout.ts';
import { askApi } from '../support/api-answers.ts';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { content, type Content, descriptorOf, type Image, multiPlatformImage, referrerOf } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';

async function detailsOf(app: RunningApp, reference: string, { of = repository, query = '' } = {}) {
  const name = encodeURIComponent(`docker.io/${of}`);
  const path = `/api/v1/repositories/${name}/images/${encodeURIComponent(reference)}${query}`;
  const { status, body } = await askApi(app, path);
  return { status, body: Object(body) };
}

/** A mirror that has pulled an image of two platforms with its signature, and another image that shares a layer. */
async function mirror() {
  const hub = await startFakeRegistry();
  const built = multiPlatformImage();
  const signature = referrerOf(built.manifest, { artifactType: 'application/vnd.dev.cosign.artifact.sig.v1+json' });
  hub.content.add(repository, '1', built, [signature]);
  const app = await startAppInMemory(mirrorOf(hub, { freshness: { tag: '5m' } }));
  return { hub, app, built, signature };
}

/** An image of these layers. */
function imageOf(config: Content, layers: readonly Content[], more: object = {}): Image {
  const written = { schemaVersion: 2, mediaType: ociManifest, config: descriptorOf(config), ...more };
  const bytes = Buffer.from(JSON.stringify({ layers: layers.map(descriptorOf), ...written }));
  return { manifest: content(ociManifest, bytes), children: [], blobs: [config, ...layers] };
}

function configOf(value: unknown): Content {
  return content('application/vnd.oci.image.config.v1+json', Buffer.from(JSON.stringify(value)));
}

const layer = content('application/vnd.oci.image.layer.v1.tar+gzip', Buffer.from('a layer'));

test('an index tells its platforms, which of them are stored, how fresh its tag is, and its cached referrers', async () => {
  const { hub, app, built, signature } = await mirror();
  const [amd64, arm64] = built.children;
  await ask(app, `/v2/${repository}/manifests/1`);
  await ask(app, `/v2/${repository}/manifests/${amd64?.digest}`);
  await ask(app, `/v2/${repository}/referrers/${built.manifest.digest}`);
  const asked = hub.requests.length;
  const { body } = await detailsOf(app, '1');
  const pulledAt = new Date(app.clock.now()).toISOString();
  expect(body).toMatchObject({
    name: 'docker.io/library/app',
    digest: built.manifest.digest,
    size: built.manifest.bytes.length,
    isStored: true,
    tag: { tag: '1', confirmedAt: pulledAt, freshUntil: '2030-01-01T00:05:00.000Z', isFresh: true },
    tags: ['1'],
    firstPullAt: pulledAt,
    lastPullAt: pulledAt,
    manifests: [
      { digest: amd64?.digest, platform: 'linux/amd64', isStored: true, size: amd64?.bytes.length },
      { digest: arm64?.digest, platform: 'linux/arm64', isStored: false },
    ],
    referrers: [
      {
        subject: built.manifest.digest,
        listedAt: pulledAt,
        items: [{ kind: 'signature', digest: signature.manifest.digest, isStored: false }],
      },
    ],
  });
  expect(body.image).toBeUndefined();
  app.clock.advance(5 * 60_000);
  expect((await detailsOf(app, '1')).body.tag).toMatchObject({ isFresh: false });
  expect((await detailsOf(app, built.manifest.digest)).body).toMatchObject({ tags: ['1'], isStored: true });
  expect(hub.requests).toHaveLength(asked);
});

test('?platform= tells the config, the layers and what is stored of one image of an index', async () => {
  const { app, built } = await mirror();
  const [, arm64] = built.children;
  await ask(app, `/v2/${repository}/manifests/1`);
  expect((await detailsOf(app, '1', { query: '?platform=linux/arm64' })).body.image).toBeUndefined();
  await pullAll(app, repository, '1');
  const { body } = await detailsOf(app, '1', { query: '?platform=linux/arm64/v8' });
  const { image: found } = body;
  expect(found).toMatchObject({
    digest: arm64?.digest,
    platform: 'linux/arm64',
    isStored: true,
    config: { isStored: true },
    configuration: { architecture: 'arm64', os: 'linux', labels: { name: 'multi' } },
    layers: [{ isStored: true, isForeign: false }],
  });
  expect(found.storedBytes).toBe(found.totalBytes);
  expect((await detailsOf(app, '1', { query: '?platform=windows/amd64' })).status).toBe(404);
  expect((await detailsOf(app, '1', { query: '?platform=%3Cscript%3E' })).status).toBe(400);
});

test('a layer names the other repositories and images that share it', async () => {
  const hub = await startFakeRegistry();
  hub.content.add(repository, '1', imageOf(configOf({ os: 'linux' }), [layer]));
  const other = imageOf(configOf({ os: 'plan9' }), [layer]);
  hub.content.add('library/other', 'x', other);
  const app = await startAppInMemory(mirrorOf(hub));
  await pullAll(app, repository, '1');
  await app.quiet();
  await pullAll(app, 'library/other', 'x');
  // A link is written in the background.
  await expect
    .poll(async () => (await detailsOf(app, '1')).body.image.layers)
    .toMatchObject([
      {
        sharedBy: {
          repositories: ['docker.io/library/other'],
          images: [{ digest: other.manifest.digest, name: 'docker.io/library/other', tag: 'x' }],
          moreRepositories: 0,
          moreImages: 0,
        },
      },
    ]);
});

test('what is missing is told as missing: a blob that was never pulled, a config that is gone, a tag without its manifest', async () => {
  const { app, built } = await mirror();
  const [amd64] = built.children;
  await ask(app, `/v2/${repository}/manifests/${amd64?.digest}`);
  const { body } = await detailsOf(app, String(amd64?.digest));
  expect(body.image).toMatchObject({ config: { isStored: false }, layers: [{ isStored: false }] });
  expect(body.image.storedBytes).toBe(amd64?.bytes.length);
  expect(body.image.configuration).toBeUndefined();

  await ask(app, `/v2/${repository}/manifests/1`, { method: 'HEAD' });
  await pullAll(app, repository, '1');
  await detailsOf(app, '1');
  await rm(join(app.dataDirectory, blobPath(built.manifest.digest)));
  expect(await detailsOf(app, '1')).toMatchObject({ status: 200, body: { isStored: false, tag: { tag: '1' } } });
});

test('what is damaged on the disk is missing, goes into quarantine, and is no error', async () => {
  const { app, built } = await mirror();
  await pullAll(app, repository, '1');
  await detailsOf(app, '1');
  const path = join(app.dataDirectory, blobPath(built.manifest.digest));
  await writeFile(path, Buffer.alloc(built.manifest.bytes.length));
  expect(await detailsOf(app, '1')).toMatchObject({ status: 200, body: { isStored: false } });
  expect((await askApi(app, '/api/v1/stats')).body).toMatchObject({ storage: { quarantinedFiles: 1 } });
});

test.each([
  ['a tag that was never pulled', '2', repository],
  ['a digest that was never pulled', `sha256:${'0'.repeat(64)}`, repository],
  ['a blob', layer.digest, repository],
  ['a repository that was never pulled', '1', 'library/unknown'],
])('%s is not found, and no upstream is asked for it', async (_, reference, of) => {
  const hub = await startFakeRegistry();
  hub.content.add(repository, '1', imageOf(configOf({}), [layer]));
  const app = await startAppInMemory(mirrorOf(hub));
  await pullAll(app, repository, '1');
  const asked = hub.requests.length;
  expect((await detailsOf(app, reference, { of })).status).toBe(404);
  expect(hub.requests).toHaveLength(asked);
});

test('what an image says of itself is checked field by field and cut', async () => {
  const hub = await startFakeRegistry();
  const hostile = configOf({
    os: 7,
    architecture: 'x'.repeat(10_000),
    created: '+275760-09-13T00:00:00Z',
    config: {
      Labels: {
        '<script>': 'a'.repeat(5_000),
        number: 1,
        ...Object.fromEntries(Array.from({ length: 300 }, (_, at) => [`l${at}`, ''])),
      },
    },
    history: [
      7,
      { created_by: 'z'.repeat(9_000), created: '1980-01-01T00:00:00Z', empty_layer: 'yes' },
      ...Array.from({ length: 500 }, () => ({})),
    ],
  });
  const annotations = { ok: 'yes', no: { deep: true } };
  hub.content.add(repository, '1', imageOf(hostile, [layer], { annotations, artifactType: [], subject: 'x' }));
  const app = await startAppInMemory(mirrorOf(hub));
  await pullAll(app, repository, '1');
  const { body } = await detailsOf(app, '1');
  const { configuration } = body.image;
  expect(configuration.os).toBeUndefined();
  expect(configuration.created).toBeUndefined();
  expect(configuration.architecture).toHaveLength(256);
  expect(Object.keys(configuration.labels)).toHaveLength(99);
  expect(configuration.labels['<script>']).toHaveLength(2_048);
  expect(configuration.history).toHaveLength(199);
  expect(configuration.history[0]).toMatchObject({ created: '1980-01-01T00:00:00.000Z', isEmptyLayer: false });
  expect(configuration.history[0].createdBy).toHaveLength(2_048);
  expect(body.annotations).toEqual({ ok: 'yes' });
  expect(body.image.subject).toBeUndefined();
});
