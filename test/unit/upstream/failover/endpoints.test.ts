import { buffer } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import type { MirrorSettings } from '../../../../src/upstream/settings.ts';
import { startFakeRegistry } from '../../../support/fake-registry.ts';
import { gate } from '../../../support/gate.ts';
import { image, randomBlob } from '../../../support/images.ts';
import { clientOf, unlimited } from '../start-client.ts';

const repository = parseRepository('team/app');
const latest = parseTag('latest');
const manifests = /manifests/;
const account = { kind: 'basic', username: 'robot', password: 's3cr3t' } as const;
const credentials = [
  { kind: 'basic', repositories: ['**'], username: account.username, readPassword: async () => account.password },
] as const;

async function startTwo(settings: Partial<MirrorSettings> = {}) {
  const [mirror, registry] = [await startFakeRegistry(), await startFakeRegistry()];
  const app = image();
  for (const one of [mirror, registry]) one.content.add(repository, latest, app);
  const mirrors = [{ url: mirror.url, tags: false, forwardNs: false, credentials: [], ...settings }];
  return { mirror, registry, app, ...clientOf(registry.url, { mirrors }) };
}

test('content comes from the mirror, and the registry gets no request', async () => {
  const { client, mirror, registry, app } = await startTwo();
  const [blob] = app.blobs;
  if (!blob) throw new Error('the image has a blob');

  await client.getManifest(repository, app.manifest.digest, unlimited);
  await client.headManifest(repository, app.manifest.digest, unlimited);
  await client.headBlob(repository, blob.digest, unlimited);
  const { body } = await client.openBlob(repository, blob.digest, unlimited);

  expect(await buffer(body)).toEqual(blob.bytes);
  expect(mirror.count()).toBe(4);
  expect(registry.count()).toBe(0);
});

test('tags and referrers, which change, come from the registry', async () => {
  const { client, mirror, registry, app } = await startTwo();

  await client.headManifest(repository, latest, unlimited);
  await client.getManifest(repository, latest, unlimited);
  await client.listTags(repository, unlimited);
  await client.listReferrers(repository, app.manifest.digest, unlimited);

  expect(mirror.count()).toBe(0);
  expect(registry.count()).toBe(4);
});

test('a mirror that is configured for tags is asked for them too', async () => {
  const { client, mirror, registry, app } = await startTwo({ tags: true });

  await client.headManifest(repository, latest, unlimited);
  await client.listTags(repository, unlimited);
  await client.listReferrers(repository, app.manifest.digest, unlimited);

  expect(mirror.count()).toBe(3);
  expect(registry.count()).toBe(0);
});

test('content that the mirror lacks comes from the registry, and the mirror is asked again for the next', async () => {
  const { client, mirror, registry, app } = await startTwo();
  mirror.content.removeRepository(repository);

  await client.getManifest(repository, app.manifest.digest, unlimited);
  await client.getManifest(repository, app.manifest.digest, unlimited);

  expect(mirror.count()).toBe(2);
  expect(registry.count()).toBe(2);
});

test.each([401, 403, 429, 500])('a mirror that answers %i is skipped, and the registry is asked', async (status) => {
  const { client, mirror, registry, app } = await startTwo();
  mirror.script({}, { status });

  expect(await client.getManifest(repository, app.manifest.digest, unlimited)).toMatchObject({
    digest: app.manifest.digest,
  });
  expect(registry.count()).toBe(1);
});

test('a mirror that sends wrong bytes is skipped, and the registry is asked', async () => {
  const { client, mirror, app } = await startTwo();
  mirror.script({}, { body: () => Buffer.from('{}') });

  expect(await client.getManifest(repository, app.manifest.digest, unlimited)).toMatchObject({
    digest: app.manifest.digest,
  });
});

test('a mirror that is down is skipped, and gets no request for a while', async () => {
  const { client, mirror, app, observer, clock } = await startTwo();
  await mirror.stop();
  const pull = () => client.getManifest(repository, app.manifest.digest, unlimited);

  await pull();
  await pull();
  expect(observer.story).toEqual(['GET manifest connect', 'GET manifest 200', 'GET manifest 200']);

  await mirror.start();
  clock.advance(30_000);
  await pull();
  expect(mirror.count('GET', manifests)).toBe(1);
});

test('a mirror with Retry-After gets no request for that time', async () => {
  const { client, mirror, app, clock } = await startTwo();
  mirror.script({ times: 1 }, { status: 429, headers: { 'retry-after': '300' } });
  const pull = () => client.getManifest(repository, app.manifest.digest, unlimited);

  await pull();
  clock.advance(299_000);
  await pull();
  expect(mirror.count('GET', manifests)).toBe(1);

  clock.advance(1_000);
  await pull();
  expect(mirror.count('GET', manifests)).toBe(2);
});

test('the rest of a blob whose mirror broke off comes from the registry', async () => {
  const { client, mirror, registry } = await startTwo();
  const blob = randomBlob(1000);
  for (const one of [mirror, registry]) one.content.addBlob(repository, blob);
  mirror.script({}, { cutAfterBytes: 500 });

  const broken = await client.openBlob(repository, blob.digest, unlimited);
  await expect(buffer(broken.body)).rejects.toMatchObject({ reason: 'connect' });
  const { offset, body } = await client.openBlob(repository, blob.digest, { ...unlimited, range: { start: 500 } });

  expect(offset).toBe(500);
  expect(await buffer(body)).toEqual(blob.bytes.subarray(500));
  expect(registry.count()).toBe(1);
});

test('content that no endpoint has is answered as the registry answered', async () => {
  const { client, mirror, app } = await startTwo();
  mirror.script({}, { status: 500 });

  const unknown = client.openBlob(repository, randomBlob(1).digest, unlimited);

  await expect(unknown).rejects.toMatchObject({ code: 'BLOB_UNKNOWN' });
  expect(app.manifest.digest).toMatch(/^sha256:/);
});

test('a caller that leaves while the mirror is asked causes no request to the registry', async () => {
  const { client, mirror, registry, app } = await startTwo();
  mirror.script({}, { holdHeaders: gate() });
  const waiting = new AbortController();
  const asked = client.getManifest(repository, app.manifest.digest, waiting);
  await mirror.arrived('GET', /manifests/);

  waiting.abort(new Error('the client left'));

  await expect(asked).rejects.toThrow('the client left');
  expect(registry.count()).toBe(0);
});

test("a mirror never gets the registry's credentials, nor the registry the mirror's", async () => {
  const [mirror, registry] = [await startFakeRegistry({ auth: account }), await startFakeRegistry({ auth: account })];
  const app = image();
  registry.content.add(repository, latest, app);
  const mirrors = [{ url: mirror.url, tags: false, forwardNs: false, credentials: [] }];
  const { client } = clientOf(registry.url, { credentials, mirrors });

  await client.getManifest(repository, app.manifest.digest, unlimited);
  await client.getManifest(repository, app.manifest.digest, unlimited);

  expect(mirror.requests.map(({ headers }) => headers.authorization)).toEqual([undefined, undefined]);
  expect(registry.requests.at(-1)?.headers.authorization).toMatch(/^Basic /);
});

test('a mirror with its own credentials gets those', async () => {
  const [mirror, registry] = [await startFakeRegistry({ auth: account }), await startFakeRegistry()];
  const app = image();
  mirror.content.add(repository, latest, app);
  const mirrors = [{ url: mirror.url, tags: false, forwardNs: false, credentials }];

  await clientOf(registry.url, { mirrors }).client.getManifest(repository, app.manifest.digest, unlimited);

  expect(registry.count()).toBe(0);
});

test('another Layerwell is told which registry is meant, on every page', async () => {
  const { client, mirror } = await startTwo({ tags: true, forwardNs: true });
  mirror.script({ times: 1 }, { headers: { link: '</v2/team/app/tags/list?last=a>; rel="next"' } });

  await client.listTags(repository, unlimited);

  expect(mirror.requests.map(({ query }) => query.get('ns'))).toEqual(['registry.test', 'registry.test']);
});

test('a mirror below a path is asked there', async () => {
  const registry = await startFakeRegistry();
  const { client } = clientOf(registry.url, {
    mirrors: [{ url: `${registry.url}/artifactory/api/docker/hub/`, tags: true, forwardNs: false, credentials: [] }],
  });

  await client.headManifest(repository, latest, unlimited).catch(() => undefined);

  expect(registry.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
    'HEAD /artifactory/api/docker/hub/v2/team/app/manifests/latest',
    'GET /artifactory/api/docker/hub/v2/team/app/manifests/latest',
    'HEAD /v2/team/app/manifests/latest',
    'GET /v2/team/app/manifests/latest',
  ]);
});
