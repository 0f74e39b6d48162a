import { expect, test } from 'vitest';
import { digestOf } from '../../../../src/oci/digest.ts';
import { ociManifest } from '../../../../src/oci/media-types.ts';
import { startFakeRegistry } from '../../../support/fake-registry.ts';
import { clientOf, unlimited } from '../start-client.ts';
import { latest, manifests, repository, startWithImage } from '../start-with-image.ts';

test('a HEAD describes a manifest without fetching it', async () => {
  const { client, registry, app } = await startWithImage();

  const head = await client.headManifest(repository, latest, unlimited);

  expect(head).toEqual({ digest: app.manifest.digest, mediaType: ociManifest, size: app.manifest.bytes.length });
  expect(registry.count('HEAD')).toBe(1);
  expect(registry.count('GET')).toBe(0);
});

test('a registry may omit digest, type and length from a HEAD', async () => {
  const { client } = await startWithImage({
    withoutHeaders: ['docker-content-digest'],
    headers: { 'content-type': 'text/html' },
  });

  expect(await client.headManifest(repository, latest, unlimited)).toMatchObject({
    digest: undefined,
    mediaType: undefined,
  });
});

test.each([405, 411, 501])(
  'a registry that answers HEAD with %i and has the manifest gets one GET, and only GETs for a while',
  async (status) => {
    const { client, registry, app, clock } = await startWithImage();
    registry.clearScripts();
    registry.script({ method: 'HEAD', path: manifests }, { status });
    const asked = () => registry.seen(undefined, manifests).map(({ method }) => method);

    for (const _ of ['refused', 'known']) {
      expect(await client.headManifest(repository, latest, unlimited)).toMatchObject({
        digest: app.manifest.digest,
        mediaType: ociManifest,
        size: app.manifest.bytes.length,
        fetched: { digest: app.manifest.digest },
      });
    }
    expect(asked()).toEqual(['HEAD', 'GET', 'GET']);

    clock.advance(10 * 60_000);
    await client.headManifest(repository, latest, unlimited);
    expect(asked().slice(3)).toEqual(['HEAD', 'GET']);
  },
);

test.each([400, 403, 404, 406, 500])(
  'a registry that answers HEAD with %i once and has the manifest gets a HEAD next time; one that does so twice gets only GETs',
  async (status) => {
    const { client, registry, app } = await startWithImage();
    registry.clearScripts();
    registry.script({ method: 'HEAD', path: manifests, times: 1 }, { status });
    const asked = () => registry.seen(undefined, manifests).map(({ method }) => method);
    const look = () => client.headManifest(repository, latest, unlimited);

    expect(await look()).toMatchObject({ fetched: { digest: app.manifest.digest } });
    expect(await look()).not.toHaveProperty('fetched');
    expect(asked()).toEqual(['HEAD', 'GET', 'HEAD']);

    registry.script({ method: 'HEAD', path: manifests }, { status });
    for (let time = 0; time < 3; time += 1) await look();
    expect(asked().slice(3)).toEqual(['HEAD', 'GET', 'HEAD', 'GET', 'GET']);
  },
);

test.each([401, 403])(
  'a HEAD that is redirected to a URL that allows GET only (%i) is followed by a GET',
  async (status) => {
    const { registry, app } = await startWithImage();
    const store = await startFakeRegistry();
    store.script({ method: 'HEAD' }, { status });
    registry.clearScripts();
    registry.script({ method: 'HEAD', path: manifests }, { redirectTo: (path) => `${store.url}${path}` });
    const { client } = clientOf(registry.url, { redirectHosts: [store.host] });

    expect(await client.headManifest(repository, latest, unlimited)).toMatchObject({ digest: app.manifest.digest });
  },
);

test('a HEAD with a redirect that is not followed is followed by a GET', async () => {
  const { client, registry, app } = await startWithImage();
  registry.clearScripts();
  registry.script({ method: 'HEAD', path: manifests }, { redirectTo: () => 'http://10.0.0.1/login' });

  for (let times = 0; times < 3; times += 1)
    expect(await client.headManifest(repository, latest, unlimited)).toMatchObject({ digest: app.manifest.digest });
  expect(registry.count('HEAD', manifests)).toBe(2);
});

test('an account that a HEAD says is refused gets no GET', async () => {
  const { client, registry } = await startWithImage();
  registry.clearScripts();
  registry.script({ path: manifests }, { status: 401 });

  await expect(client.headManifest(repository, latest, unlimited)).rejects.toMatchObject({ code: 'DENIED' });
  expect(registry.count('GET', manifests)).toBe(0);
});

test('a length of 0 in the answer to a HEAD is not the size of the manifest', async () => {
  const { client, app } = await startWithImage({ contentLength: 0 });

  expect(await client.headManifest(repository, latest, unlimited)).toEqual({
    digest: app.manifest.digest,
    mediaType: ociManifest,
    size: undefined,
  });
});

test.each([429, 502, 503, 504])('a registry that answers HEAD with %i gets no GET', async (status) => {
  const { client, registry } = await startWithImage();
  registry.clearScripts();
  registry.script({ path: manifests }, { status });

  await expect(client.headManifest(repository, latest, unlimited)).rejects.toMatchObject({ upstreamStatus: status });

  expect(registry.count('GET', manifests)).toBe(0);
});

test('a HEAD by digest that returns another digest is rejected', async () => {
  const { client, app } = await startWithImage({
    headers: { 'docker-content-digest': digestOf(Buffer.from('another')) },
  });

  const asked = client.headManifest(repository, app.manifest.digest, unlimited);

  await expect(asked).rejects.toMatchObject({ reason: 'misbehaving' });
});
