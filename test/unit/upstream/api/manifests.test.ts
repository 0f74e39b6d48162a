import { expect, test } from 'vitest';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import { digestOf, parseDigest } from '../../../../src/oci/digest.ts';
import { ociIndex, ociManifest } from '../../../../src/oci/media-types.ts';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { startFakeRegistry } from '../../../support/fake-registry.ts';
import { gate } from '../../../support/gate.ts';
import { content, image } from '../../../support/images.ts';
import { clientOf, unlimited } from '../start-client.ts';
import { latest, manifests, repository, startWithImage } from '../start-with-image.ts';

test('a manifest fetched by tag has the digest of its bytes and the type that the registry sent', async () => {
  const { client, app } = await startWithImage();

  const manifest = await client.getManifest(repository, latest, unlimited);

  expect(manifest).toMatchObject({ digest: app.manifest.digest, mediaType: ociManifest });
  expect(Buffer.from(manifest.bytes)).toEqual(app.manifest.bytes);
});

test.each([{ sent: `${ociManifest}; charset=utf-8` }, { sent: ` ${ociManifest} ;q=1` }])(
  'parameters of a media type ("$sent") are dropped',
  async ({ sent }) => {
    const { client } = await startWithImage({
      headers: { 'content-type': sent },
      body: () => Buffer.from('{"schemaVersion":2}'),
      withoutHeaders: ['docker-content-digest'],
    });

    expect(await client.headManifest(repository, latest, unlimited)).toMatchObject({ mediaType: ociManifest });
    expect(await client.getManifest(repository, latest, unlimited)).toMatchObject({ mediaType: ociManifest });
  },
);

test('every registry is asked for all manifest types, unencoded, and sees the User-Agent', async () => {
  const { client, registry, app } = await startWithImage();

  await client.headManifest(repository, latest, unlimited);
  await client.getManifest(repository, app.manifest.digest, unlimited);

  for (const { headers } of registry.requests) {
    expect(headers.accept?.split(', ')).toEqual([
      'application/vnd.oci.image.index.v1+json',
      'application/vnd.docker.distribution.manifest.list.v2+json',
      'application/vnd.oci.image.manifest.v1+json',
      'application/vnd.docker.distribution.manifest.v2+json',
      'application/vnd.oci.artifact.manifest.v1+json',
      'application/vnd.cncf.oras.artifact.manifest.v1+json',
    ]);
    expect(headers['accept-encoding']).toBe('identity');
    expect(headers['user-agent']).toBe('layerwell');
  }
  expect(registry.count()).toBe(2);
});

test.each([
  { what: 'has the bytes', fault: undefined, ends: ['ok'] },
  { what: 'has other bytes', fault: { body: () => Buffer.from('{}') }, ends: ['digest_mismatch'] },
  { what: 'fails, also when it is repeated', fault: { status: 503 }, ends: ['upstream_error'] },
  { what: 'says that there is none', fault: { status: 404 }, ends: [] },
])(
  'how the download of a manifest ended is told once, after its retries: the registry $what',
  async ({ fault, ends }) => {
    const { client, observer, app } = await startWithImage(fault);
    await client.headManifest(repository, latest, unlimited).catch(() => {});
    await client.getManifest(repository, app.manifest.digest, unlimited).catch(() => {});
    expect(observer.manifestEnds).toEqual(ends);
  },
);

test('a download of a manifest that nobody waits for any more has ended as aborted', async () => {
  const body = gate();
  const { client, observer, registry, app } = await startWithImage({ holdBody: { afterBytes: 1, until: body } });
  const leaving = new AbortController();
  const fetched = client.getManifest(repository, app.manifest.digest, leaving);
  await expect.poll(() => registry.count()).toBe(1);
  leaving.abort(new Error('left'));
  await expect(fetched).rejects.toThrow('left');
  body.open();
  expect(observer.manifestEnds).toEqual(['aborted']);
});

test('a large manifest waits for memory, a small one does not', async () => {
  const registry = await startFakeRegistry();
  const manifestOf = (padBytes: number) =>
    content(ociIndex, Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [], pad: 'x'.repeat(padBytes) })));
  const [small, large] = [manifestOf(10), manifestOf(200_000)];
  for (const manifest of [small, large]) registry.content.addManifest(repository, manifest);
  const memory = new MemoryBudget({ maxBytes: 1_000_000 });
  const others = await memory.reserve(900_000, unlimited);
  const { client } = clientOf(registry.url, {}, { memory });
  expect((await client.getManifest(repository, small.digest, unlimited)).bytes.length).toBe(small.bytes.length);
  const leaving = new AbortController();
  const reading = [unlimited, leaving].map((waiting) => client.getManifest(repository, large.digest, waiting));
  await expect.poll(() => memory.waiting).toBe(2);
  leaving.abort(new Error('left'));
  await expect(reading[1]).rejects.toThrow('left');
  others.release();
  expect(Buffer.from((await reading[0])?.bytes ?? []).equals(large.bytes)).toBe(true);
  await expect.poll(() => memory.reservedBytes).toBe(0);
});

test('a schema 1 manifest is rejected with an error that says so, for HEAD and GET, by tag and by digest', async () => {
  const registry = await startFakeRegistry();
  const bytes = Buffer.from('{\n   "schemaVersion": 1,\n   "signatures": []\n}');
  const old = content('application/vnd.docker.distribution.manifest.v1+prettyjws', bytes);
  registry.content.addManifest(repository, old);
  registry.content.tag(repository, latest, old.digest);
  const { client } = clientOf(registry.url);

  for (const reference of [latest, old.digest])
    for (const verb of ['headManifest', 'getManifest'] as const)
      await expect(client[verb](repository, reference, unlimited)).rejects.toMatchObject({
        code: 'MANIFEST_UNKNOWN',
        message: expect.stringContaining('schema 1 manifest, a format that is not supported'),
      });
});

test.each(['application/json; charset=utf-8', 'text/plain'])(
  'a schema 1 manifest is recognized under the type %s too',
  async (type) => {
    const body = () => Buffer.from('{"schemaVersion": 1, "fsLayers": [], "signatures": []}');
    const { client } = await startWithImage({
      body,
      headers: { 'content-type': type },
      withoutHeaders: ['docker-content-digest'],
    });

    await expect(client.getManifest(repository, latest, unlimited)).rejects.toMatchObject({
      code: 'MANIFEST_UNKNOWN',
      message: expect.stringContaining('schema 1 manifest'),
    });
  },
);

test('bytes with another digest than requested are rejected', async () => {
  const { client, app } = await startWithImage({ body: () => Buffer.from('{"schemaVersion":2}') });

  const asked = client.getManifest(repository, app.manifest.digest, unlimited);

  await expect(asked).rejects.toMatchObject({ name: 'UpstreamError', reason: 'misbehaving' });
});

test('bytes fetched by tag with another digest than in the headers are rejected', async () => {
  const { client } = await startWithImage({ headers: { 'docker-content-digest': digestOf(Buffer.from('another')) } });

  await expect(client.getManifest(repository, latest, unlimited)).rejects.toMatchObject({ reason: 'misbehaving' });
});

test('a registry that names manifests by sha512 is believed once the bytes match', async () => {
  const { client, registry, app } = await startWithImage();
  const digest = digestOf(app.manifest.bytes, 'sha512');
  registry.clearScripts();
  registry.script({ path: manifests }, { headers: { 'docker-content-digest': digest } });

  expect(await client.getManifest(repository, latest, unlimited)).toMatchObject({ digest });
});

test('a digest that cannot be verified is not adopted', async () => {
  const { client, app } = await startWithImage({
    headers: { 'docker-content-digest': 'md5:d41d8cd98f00b204e9800998ecf8427e' },
  });

  expect(await client.getManifest(repository, latest, unlimited)).toMatchObject({ digest: app.manifest.digest });
});

test.each([
  { sent: 'text/plain', expected: ociManifest },
  { sent: ociIndex, expected: ociIndex },
])('a manifest sent as $sent is a $expected', async ({ sent, expected }) => {
  const { client } = await startWithImage({ headers: { 'content-type': sent } });

  expect(await client.getManifest(repository, latest, unlimited)).toMatchObject({ mediaType: expected });
});

test("a login page or a proxy's error page is rejected as a manifest", async () => {
  const { client } = await startWithImage({
    headers: { 'content-type': 'text/html' },
    withoutHeaders: ['docker-content-digest'],
    body: () => Buffer.from('<html>please log in</html>'),
  });

  await expect(client.getManifest(repository, latest, unlimited)).rejects.toMatchObject({ reason: 'misbehaving' });
});

const tooLong = () => Buffer.alloc(32 * 1024 * 1024);

test('a manifest that announces more than 4 MiB is rejected at once', async () => {
  const { client, registry, observer } = await startWithImage({ body: tooLong });

  await expect(client.getManifest(repository, latest, unlimited)).rejects.toMatchObject({ reason: 'misbehaving' });

  expect(await registry.requests[0]?.ended).toBe('aborted');
  expect(observer.bytesOf('manifest')).toBeLessThan(1024 * 1024);
});

test('a manifest that turns out to have more than 4 MiB is cut off there', async () => {
  const { client, registry } = await startWithImage({ body: tooLong, contentLength: 'absent' });

  await expect(client.getManifest(repository, latest, unlimited)).rejects.toMatchObject({ reason: 'misbehaving' });

  expect(await registry.requests[0]?.ended).toBe('aborted');
});

test('a manifest that was compressed on the way is rejected', async () => {
  const { client } = await startWithImage({ gzip: true });

  await expect(client.getManifest(repository, latest, unlimited)).rejects.toMatchObject({ reason: 'misbehaving' });
});

test('a manifest that breaks off is rejected', async () => {
  const { client } = await startWithImage({ cutAfterBytes: 10 });

  await expect(client.getManifest(repository, latest, unlimited)).rejects.toMatchObject({ reason: 'connect' });
});

test('a manifest that the upstream lacks is unknown, and so is a missing repository', async () => {
  const { client } = await startWithImage();
  const nowhere = parseRepository('team/nothing');

  await expect(client.getManifest(repository, parseTag('v9'), unlimited)).rejects.toMatchObject({
    code: 'MANIFEST_UNKNOWN',
  });
  await expect(client.getManifest(nowhere, latest, unlimited)).rejects.toMatchObject({ code: 'NAME_UNKNOWN' });
  await expect(client.headManifest(nowhere, latest, unlimited)).rejects.toMatchObject({ code: 'NAME_UNKNOWN' });
});

test('an upstream with a repository prefix is asked for manifests below it', async () => {
  const registry = await startFakeRegistry();
  const app = image();
  registry.content.add('remote/team/app', latest, app);
  const { client } = clientOf(`${registry.url}/`, { repositoryPrefix: 'remote' });

  expect(await client.getManifest(repository, latest, unlimited)).toMatchObject({ digest: app.manifest.digest });
});

test('the observer counts every request and its bytes', async () => {
  const { client, observer, app } = await startWithImage();

  await client.headManifest(repository, latest, unlimited);
  await client.getManifest(repository, latest, unlimited);
  await client.getManifest(repository, parseTag('v9'), unlimited).catch(() => undefined);

  expect(observer.story).toEqual(['HEAD manifest 200', 'GET manifest 200', 'GET manifest 404']);
  expect(observer.bytesOf('manifest')).toBeGreaterThan(app.manifest.bytes.length);
});

test("a manifest in any other vendor's format is passed on unchanged", async () => {
  const { client, registry } = await startWithImage();
  const odd = content('application/vnd.cncf.oras.artifact.manifest.v1+json', Buffer.from('{}'));
  registry.content.addManifest(repository, odd);

  expect(await client.getManifest(repository, parseDigest(odd.digest), unlimited)).toMatchObject({
    mediaType: odd.mediaType,
  });
});
