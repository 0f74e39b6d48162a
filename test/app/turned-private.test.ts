import { expect, test } from 'vitest';
import { ociIndex } from '../../src/oci/media-types.ts';
import { ask } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { content, descriptorOf, image, type Image, randomBlob } from '../support/images.ts';
import { pullAll, pullManifest } from '../support/pull.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const minute = 60_000;
const account = { username: 'mirror', password: 'secret' };
const publicApp = 'team/app';
const privateApp = 'priv/app';

interface Started {
  readonly upstream: FakeRegistry;
  readonly app: RunningApp;
  /** Repositories that anonymous callers may not read from now on. */
  readonly hide: (...repositories: string[]) => void;
}

/** A registry with an account that reads everything, and a mirror that has the account and serves what everyone may read. */
async function started(fill: (upstream: FakeRegistry) => void): Promise<Started> {
  const hidden: string[] = [];
  const upstream = await startFakeRegistry({ auth: { kind: 'bearer', ...account, privateRepositories: hidden } });
  fill(upstream);
  const docker = { url: upstream.url, credentials: [{ kind: 'basic', ...account }], visibility: 'public' };
  const app = await startApp(mirrorOf(upstream, { upstreams: { 'docker.io': docker } }));
  const hide = (...repositories: string[]) => {
    hidden.push(...repositories);
    upstream.auth.revokeTokens();
  };
  return { upstream, app, hide };
}

/** Requests that asked for content with what the mirror knows of its account. */
function contentAsked(upstream: FakeRegistry): readonly string[] {
  return upstream
    .seen('GET', /\/(manifests|blobs|referrers)\//)
    .filter(({ headers }) => headers.authorization !== undefined)
    .map(({ path }) => path);
}

/** An index that names an image's manifest. */
function indexOf({ manifest }: Image) {
  const manifests = [{ ...descriptorOf(manifest), platform: { os: 'linux', architecture: 'amd64' } }];
  return content(ociIndex, Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests })));
}

function layerOf({ blobs }: Image) {
  const layer = blobs.at(-1);
  if (!layer) throw new Error('an image has layers');
  return layer;
}

test('a layer of a repository that turned private is not served through a public one whose manifest names it', async () => {
  const secret = image({ name: 'secret' });
  const { upstream, app, hide } = await started(({ content: held }) => {
    held.add(privateApp, '1', secret);
    held.addManifest(publicApp, secret.manifest);
    held.tag(publicApp, '1', secret.manifest.digest);
  });
  await pullAll(app, privateApp, '1');
  await app.quiet();
  hide(privateApp);
  app.clock.advance(30 * minute);
  expect((await ask(app, `/v2/${privateApp}/manifests/2`)).status).toBe(404); // The mirror knows that it is hidden.
  await pullManifest(app, publicApp, '1');
  await app.restart();
  const path = `/v2/${publicApp}/blobs/${layerOf(secret).digest}`;
  expect((await ask(app, path)).status).toBe(404);
  expect((await ask(app, path, { method: 'HEAD' })).status).toBe(404);
  expect(upstream.count(undefined, new RegExp(`${publicApp}/blobs/`))).toBeGreaterThan(0);
});

test('a child manifest of a repository that turned private is not served through it either', async () => {
  const secret = image({ name: 'secret' });
  const { upstream, app, hide } = await started(({ content: held }) => {
    held.add(privateApp, '1', secret);
    held.add(publicApp, 'other', image());
    held.addManifest(publicApp, indexOf(secret));
  });
  await pullAll(app, privateApp, '1');
  await app.quiet();
  hide(privateApp);
  app.clock.advance(30 * minute);
  expect((await ask(app, `/v2/${privateApp}/manifests/2`)).status).toBe(404);
  expect((await ask(app, `/v2/${publicApp}/manifests/${indexOf(secret).digest}`)).status).toBe(200);
  await app.restart();
  expect((await ask(app, `/v2/${publicApp}/manifests/${secret.manifest.digest}`)).status).toBe(404);
  expect(upstream.count('GET', new RegExp(`${publicApp}/manifests/${secret.manifest.digest}`))).toBeGreaterThan(0);
});

test('a link to content of a repository that is public now is borrowed without an upstream request', async () => {
  const shared = image();
  const { upstream, app } = await started((registry) => {
    for (const repository of [privateApp, publicApp]) registry.content.add(repository, '1', shared);
  });
  await pullAll(app, privateApp, '1');
  await app.restart();
  await pullManifest(app, publicApp, '1');
  upstream.forgetRequests();
  for (const { digest } of shared.blobs) expect((await ask(app, `/v2/${publicApp}/blobs/${digest}`)).status).toBe(200);
  expect(upstream.count()).toBe(0);
});

const fresh = image({ name: 'pushed later' });

test.each([
  { what: 'a tag that moved', path: `/v2/${publicApp}/manifests/1` },
  { what: 'a HEAD of a tag that moved', path: `/v2/${publicApp}/manifests/1`, method: 'HEAD' },
  { what: 'a tag that is new', path: `/v2/${publicApp}/manifests/2` },
  { what: 'a manifest', path: `/v2/${publicApp}/manifests/${fresh.manifest.digest}` },
  { what: 'a HEAD of a manifest', path: `/v2/${publicApp}/manifests/${fresh.manifest.digest}`, method: 'HEAD' },
  { what: 'a layer', path: `/v2/${publicApp}/blobs/${layerOf(fresh).digest}` },
  { what: 'a HEAD of a layer', path: `/v2/${publicApp}/blobs/${layerOf(fresh).digest}`, method: 'HEAD' },
  { what: 'the list of tags', path: `/v2/${publicApp}/tags/list` },
  { what: 'a list of referrers', path: `/v2/${publicApp}/referrers/${fresh.manifest.digest}` },
])(
  'a repository turned private: $what is not fetched with the account, though yesterday everyone could read it',
  async ({ path, method = 'GET' }) => {
    const { upstream, app, hide } = await started((registry) => registry.content.add(publicApp, '1', image()));
    await pullAll(app, publicApp, '1');
    await app.quiet();
    hide(publicApp);
    upstream.content.add(publicApp, '1', fresh);
    upstream.content.add(publicApp, '2', fresh);
    upstream.forgetRequests();
    app.clock.advance(5 * minute);
    const absent = await ask(app, `${path.replace(publicApp, 'team/none')}`, { method });
    const { status, body } = await ask(app, path, { method });
    expect({ status, body: body.toString() }).toEqual({ status: 404, body: absent.body.toString() });
    expect(contentAsked(upstream)).toEqual([]);
    expect((await ask(app, path, { method })).status).toBe(404);
  },
);

test('a repository that is public again is served again, with all that was cached', async () => {
  const held = image();
  const { upstream, app } = await started((registry) => registry.content.add(publicApp, '1', held));
  await pullAll(app, publicApp, '1');
  await app.quiet();
  upstream.script({ path: /\/(manifests|tags)\// }, { status: 403 });
  app.clock.advance(5 * minute);
  expect((await ask(app, `/v2/${publicApp}/manifests/1`)).status).toBe(404);
  upstream.clearScripts();
  app.clock.advance(minute);
  upstream.forgetRequests();
  await pullAll(app, publicApp, '1');
  expect(contentAsked(upstream)).toEqual([]);
});

test('cached content is served by a verdict of the last day, without an upstream request', async () => {
  const held = image();
  const { upstream, app } = await started((registry) => registry.content.add(publicApp, '1', held));
  await pullAll(app, publicApp, '1');
  await app.quiet();
  upstream.forgetRequests();
  await pullAll(app, publicApp, '1');
  app.clock.advance(60 * minute);
  for (const { digest } of held.blobs) expect((await ask(app, `/v2/${publicApp}/blobs/${digest}`)).cache).toBe('hit');
  expect((await ask(app, `/v2/${publicApp}/manifests/${held.manifest.digest}`)).cache).toBe('hit');
  expect(upstream.count()).toBe(0);
});

test('while it cannot be checked whether a repository is still public, its cached content is served, and nothing else is fetched', async () => {
  const { upstream, app } = await started((registry) => registry.content.add(publicApp, '1', image()));
  await pullAll(app, publicApp, '1');
  await app.quiet();
  await upstream.stop();
  app.clock.advance(5 * minute);
  const stale = await ask(app, `/v2/${publicApp}/manifests/1`);
  expect(stale).toMatchObject({ status: 200, cache: 'fwd=stale; detail=stale' });
  expect(app.logLines.at(-1)).toMatchObject({ staleReason: 'connect' });
  expect((await ask(app, `/v2/${publicApp}/blobs/${randomBlob(5).digest}`)).status).toBe(503);
});
