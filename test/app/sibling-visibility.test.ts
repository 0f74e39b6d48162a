import { expect, test } from 'vitest';
import { parseTag } from '../../src/oci/reference.ts';
import { ask } from '../support/client.ts';
import type { FakeAuthOptions } from '../support/fake-auth.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { type Image, image, multiPlatformImage } from '../support/images.ts';
import { pullAll, pullManifest } from '../support/pull.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';
import { hubRepository, type Replica, startReplica } from '../support/start-replica.ts';
import { clusterSecret } from '../support/start-replicas.ts';

const day = 24 * 3_600_000;
const account = { username: 'mirror', password: 'secret' };
const credentials = [{ kind: 'basic', ...account }];
const secret = 'team/secret';
const open = 'team/open';
const waiting = { signal: new AbortController().signal };
const service = { visibility: 'service', allowAnonymous: true };

/** A registry with an account that reads everything; anonymous requests do not. */
function registryOf(hides: string[]): Promise<FakeRegistry> {
  const auth: FakeAuthOptions = { kind: 'bearer', ...account, privateRepositories: hides };
  return startFakeRegistry({ auth });
}

/** A mirror that has the account. */
function withAccount(upstream: FakeRegistry, entry: object = {}): MirrorConfig {
  const docker = { url: upstream.url, credentials, visibility: 'public', ...entry };
  return mirrorOf(upstream, { upstreams: { 'docker.io': docker } });
}

/** How many parts of an image a sibling gets of a repository. It causes no request to the upstream. */
async function foundOf({ sibling }: Replica, upstream: FakeRegistry, name: string, pushed: Image): Promise<number> {
  const repositoryId = hubRepository(name);
  const before = upstream.count();
  const { manifest, children, blobs } = pushed;
  const all = [manifest, ...children, ...blobs];
  const found = [
    await sibling.tag(repositoryId, parseTag('1'), waiting),
    ...(await Promise.all(all.map(({ digest }) => sibling.manifest(repositoryId, digest, waiting)))),
    ...(await Promise.all(all.map(({ digest }) => sibling.openBlob(repositoryId, digest, waiting)))),
    ...(await Promise.all(
      all.map(({ digest }) => sibling.openBlob(repositoryId, digest, { ...waiting, range: { start: 0, end: 1 } })),
    )),
  ];
  expect(upstream.count()).toBe(before);
  return found.filter((part) => part !== undefined).length;
}

const verdictOf = async ({ sibling }: Replica, name: string) =>
  (await sibling.visibility(hubRepository(name), waiting))?.verdict;

/** A replica that has cached a private image with the account, and now serves only what is public. */
async function withPrivateImage() {
  const upstream = await registryOf([secret]);
  const held = multiPlatformImage();
  upstream.content.add(secret, '1', held);
  const replica = await startReplica(withAccount(upstream, service));
  await pullAll(replica.app, secret, '1');
  await replica.app.quiet();
  expect(await foundOf(replica, upstream, secret, held)).toBeGreaterThan(held.blobs.length);
  await replica.restart(withAccount(upstream));
  return { upstream, held, replica };
}

test('a private image that was cached with the account never reaches a sibling under "public"', async () => {
  const { upstream, held, replica } = await withPrivateImage();
  expect(await foundOf(replica, upstream, secret, held)).toBe(0);
  expect(await verdictOf(replica, secret)).toBeUndefined();
  expect((await ask(replica.app, `/v2/${secret}/manifests/1`)).status).toBe(404);
  expect(await verdictOf(replica, secret)).toBe('hidden');
  expect(await foundOf(replica, upstream, secret, held)).toBe(0);
});

test('what is hidden is answered to a sibling exactly like what does not exist', async () => {
  const { held, replica } = await withPrivateImage();
  const headers = { authorization: `Bearer ${clusterSecret}` };
  const seen = async (path: string) => {
    const { status, headers: answered, body } = await ask(replica, path, { headers });
    const { date: _, 'x-request-id': __, ...others } = answered;
    return { status, headers: others, body: body.toString() };
  };
  const digest = held.manifest.digest;
  for (const what of ['tags/1', `manifests/${digest}`, `blobs/${digest}`, `blobs/${held.blobs[0]?.digest}`]) {
    const hidden = await seen(`/v1/docker.io/${secret}/${what}`);
    expect(hidden).toEqual(await seen(`/v1/docker.io/team/nothin/${what}`));
    expect(hidden.status).toBe(404);
  }
});

test('a sibling gets nothing of a hidden repository through one that is public', async () => {
  const { upstream, held, replica } = await withPrivateImage();
  const shown = image({ name: 'shown' });
  upstream.content.add(open, '1', shown);
  await pullAll(replica.app, open, '1');
  await replica.app.quiet();
  expect(await verdictOf(replica, open)).toBe('public');
  expect(await foundOf(replica, upstream, open, shown)).toBeGreaterThan(shown.blobs.length);
  const ofSecret = await Promise.all(
    held.blobs.map(({ digest }) => replica.sibling.openBlob(hubRepository(open), digest, waiting)),
  );
  expect(ofSecret.every((part) => part === undefined)).toBe(true);
});

test('a repository that turned private is served to siblings until the mirror learns it, as to clients', async () => {
  const hides: string[] = [];
  const upstream = await registryOf(hides);
  const held = image();
  upstream.content.add(open, '1', held);
  const replica = await startReplica(withAccount(upstream));
  await pullAll(replica.app, open, '1');
  await replica.app.quiet();
  hides.push(open);
  upstream.auth.revokeTokens();
  replica.app.clock.advance(40 * day);
  const before = await foundOf(replica, upstream, open, held);
  expect(before).toBeGreaterThan(held.blobs.length);
  while ((await ask(replica.app, `/v2/${open}/manifests/1`)).status !== 404);
  expect(await foundOf(replica, upstream, open, held)).toBe(0);
  expect(await verdictOf(replica, open)).toBe('hidden');
  await upstream.stop();
  await replica.restart(withAccount(upstream));
  expect(await foundOf(replica, upstream, open, held)).toBe(0);
  expect(await verdictOf(replica, open)).toBe('hidden');
});

test('a running download cannot be joined by a sibling through a repository that is hidden, or was hidden meanwhile', async () => {
  const hides = [secret];
  const upstream = await registryOf(hides);
  const held = image({ layerBytes: 4 * 1024 * 1024 });
  const layer = held.blobs[1]!;
  upstream.content.add(open, '1', held);
  upstream.content.add(secret, '1', held);
  const replica = await startReplica(withAccount(upstream));
  await pullManifest(replica.app, open, '1');
  const door = gate();
  upstream.script({ method: 'GET', path: /\/blobs\// }, { holdBody: { afterBytes: 1024 * 1024, until: door } });
  const client = ask(replica.app, `/v2/${open}/blobs/${layer.digest}`);
  await expect.poll(() => upstream.count('GET', /\/blobs\//)).toBe(1);
  const joined = await replica.sibling.openBlob(hubRepository(open), layer.digest, waiting);
  expect(joined).toMatchObject({ offset: 0 });
  joined?.body.destroy();
  expect(await replica.sibling.openBlob(hubRepository(secret), layer.digest, waiting)).toBeUndefined();

  hides.push(open);
  upstream.auth.revokeTokens();
  replica.app.clock.advance(day);
  while ((await ask(replica.app, `/v2/${open}/manifests/1`)).status !== 404);
  expect(await replica.sibling.openBlob(hubRepository(open), layer.digest, waiting)).toBeUndefined();
  door.open();
  await client;
});

test('denied repositories are denied to siblings, be they cached or not', async () => {
  const upstream = await startFakeRegistry();
  const held = multiPlatformImage();
  upstream.content.add(open, '1', held);
  const rules = (entry: object) => mirrorOf(upstream, { upstreams: { 'docker.io': { url: upstream.url, ...entry } } });
  const replica = await startReplica(rules({}));
  await pullAll(replica.app, open, '1');
  await replica.app.quiet();
  expect(await foundOf(replica, upstream, open, held)).toBeGreaterThan(held.blobs.length);
  for (const entry of [{ deny: ['team/*'] }, { allow: ['library/*'] }, { allow: ['team/*'], deny: [open] }]) {
    await replica.restart(rules(entry));
    expect(await foundOf(replica, upstream, open, held)).toBe(0);
  }
});
