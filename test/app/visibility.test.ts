import { expect, test } from 'vitest';
import { ask, open as startOf, type WholeAnswer } from '../support/client.ts';
import type { FakeAuthOptions } from '../support/fake-auth.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { type Image, image, multiPlatformImage, referrerOf } from '../support/images.ts';
import { pullAll, pullManifest } from '../support/pull.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';

const day = 24 * 3_600_000;
const account = { username: 'mirror', password: 'secret' };
const credentials = [{ kind: 'basic', ...account }];
const secret = 'team/secret';
const open = 'team/open';

/** A registry with an account that reads everything; anonymous requests do not. */
async function registryOf({ hides = [secret] }: { hides?: string[] } = {}): Promise<FakeRegistry> {
  const auth: FakeAuthOptions = { kind: 'bearer', ...account, privateRepositories: hides };
  return startFakeRegistry({ auth });
}

/** A mirror that has the account. */
function withAccount(upstream: FakeRegistry, entry: object = {}, rest: MirrorConfig = {}): MirrorConfig {
  const { docker, ...more } = { docker: { url: upstream.url, credentials, visibility: 'public', ...entry }, ...rest };
  return mirrorOf(upstream, { upstreams: { 'docker.io': docker }, ...more });
}

const service = { visibility: 'service', allowAnonymous: true };

/** Everything of a repository that can be asked for. */
function pathsOf(repository: string, { manifest, children, blobs }: Image): readonly string[] {
  const manifests = [manifest, ...children].map(({ digest }) => `manifests/${digest}`);
  const all = ['manifests/1', ...manifests, ...blobs.map(({ digest }) => `blobs/${digest}`), 'tags/list'];
  return [...all, `referrers/${manifest.digest}`].map((path) => `/v2/${repository}/${path}`);
}

/** How many anonymous requests checked a repository, without those that got a challenge. */
function questions(upstream: FakeRegistry): number {
  const looks = [...upstream.seen('HEAD', /\/manifests\//), ...upstream.seen('GET', /\/tags\/list/)];
  return looks.filter(({ headers }) => headers.authorization !== undefined).length;
}

/** What a client sees of an answer, but for the time of day and the id of its request. */
function seen({ status, headers, body }: WholeAnswer) {
  const { date: _, 'x-request-id': __, ...others } = headers;
  return { status, headers: others, body: body.toString('utf8') };
}

test('a private image that was cached with the account never reaches an anonymous client under "public"', async () => {
  const upstream = await registryOf();
  const held = multiPlatformImage();
  upstream.content.add(secret, '1', held, [referrerOf(held.manifest)]);
  const app = await startAppInMemory(withAccount(upstream, service));
  await pullAll(app, secret, '1');
  for (const path of pathsOf(secret, held)) expect((await ask(app, path)).status).toBe(200);
  await app.quiet();

  await app.restart(withAccount(upstream));

  for (const path of pathsOf(secret, held)) {
    for (const method of ['GET', 'HEAD']) {
      expect({ path, method, status: (await ask(app, path, { method })).status }).toEqual({
        path,
        method,
        status: 404,
      });
    }
  }
  const range = { headers: { range: 'bytes=0-9' } };
  expect((await ask(app, `/v2/${secret}/blobs/${held.blobs[0]?.digest}`, range)).status).toBe(404);
  expect((await ask(app, '/v2/_catalog')).body.toString('utf8')).toBe('{"repositories":[]}');
});

test('a hidden repository is answered exactly like one that does not exist', async () => {
  const upstream = await registryOf();
  const held = image();
  upstream.content.add(secret, '1', held);
  const app = await startAppInMemory(withAccount(upstream));
  const nothing = 'team/nothin';
  for (const round of ['first', 'again']) {
    for (const path of pathsOf(secret, held)) {
      const [hidden, absent] = [await ask(app, path), await ask(app, path.replace(secret, nothing))];
      expect({ round, path, ...seen(hidden) }).toEqual({ round, path, ...seen(absent) });
      expect(hidden.status).toBe(404);
    }
  }
  expect(JSON.parse(seen(await ask(app, `/v2/${secret}/manifests/1`)).body)).toEqual({
    errors: [{ code: 'NAME_UNKNOWN', message: 'docker.io has no such repository' }],
  });
});

test('ten pulls of a public image cause one anonymous check whether it is public, and cost the account one pull', async () => {
  const upstream = await registryOf();
  upstream.content.add(open, '1', image());
  const app = await startAppInMemory(withAccount(upstream));
  for (let pull = 0; pull < 10; pull += 1) await pullAll(app, open, '1');
  expect(questions(upstream)).toBe(1);
  expect(upstream.seen('GET', /\/manifests\//).filter(({ headers }) => headers.authorization)).toHaveLength(1);
  const tokens = upstream.seen('GET', /\/token/);
  expect(tokens).toHaveLength(2);
  expect(tokens.filter(({ headers }) => headers.authorization === undefined)).toHaveLength(1);
});

test('a cached pull of a public image asks the upstream nothing, after a restart neither', async () => {
  const upstream = await registryOf();
  upstream.content.add(open, '1', image());
  const app = await startAppInMemory(withAccount(upstream));
  await pullAll(app, open, '1');
  await app.quiet();
  upstream.forgetRequests();
  await pullAll(app, open, '1');
  await app.restart();
  await pullAll(app, open, '1');
  expect(upstream.count()).toBe(0);
});

test('a verdict survives a restart with the upstream down; without a verdict the repository is unavailable', async () => {
  const upstream = await registryOf();
  const held = image();
  upstream.content.add(open, '1', held);
  upstream.content.add(secret, '1', held);
  const app = await startAppInMemory(withAccount(upstream));
  await pullAll(app, open, '1');
  await app.quiet();
  await upstream.stop();
  await app.restart();
  await pullAll(app, open, '1');
  app.clock.advance(40 * day);
  const { parts } = await pullAll(app, open, '1');
  expect([...parts.values()].map(({ cache }) => cache)).toContain('hit');
  const unknown = await ask(app, `/v2/${secret}/manifests/1`);
  expect(unknown.status).toBe(503);
  expect(unknown.body.toString('utf8')).toContain('UNAVAILABLE');
  expect(unknown.body.toString('utf8')).not.toContain(account.username);
});

test('an image that turned private is served until the next anonymous check, within a day, and then hidden', async () => {
  const hides: string[] = [];
  const upstream = await registryOf({ hides });
  const held = image();
  upstream.content.add(open, '1', held);
  const app = await startAppInMemory(withAccount(upstream));
  await pullAll(app, open, '1');
  await app.quiet();
  hides.push(open);
  upstream.auth.revokeTokens();
  app.clock.advance(day - 60_000);
  const path = `/v2/${open}/manifests/${held.manifest.digest}`;
  expect((await ask(app, path)).status).toBe(200);
  expect(questions(upstream)).toBe(1);

  app.clock.advance(60_000);
  expect((await ask(app, path)).status).toBe(200);
  await hiddenNow(app, path);
  for (const one of pathsOf(open, held)) expect((await ask(app, one)).status).toBe(404);

  await upstream.stop();
  await app.restart();
  for (const one of pathsOf(open, held)) expect((await ask(app, one)).status).toBe(404);
});

/** After a day a client is served at once, and the check runs in the background: this waits for its result. */
async function hiddenNow(app: RunningApp, path: string): Promise<void> {
  while ((await ask(app, path)).status !== 404);
}

test('an image that was published is served as soon as its 404 is forgotten', async () => {
  const hides = [open];
  const upstream = await registryOf({ hides });
  upstream.content.add(open, '1', image());
  const app = await startAppInMemory(withAccount(upstream, { freshness: { missing: '30s' } }));
  expect((await ask(app, `/v2/${open}/manifests/1`)).status).toBe(404);
  hides.length = 0;
  app.clock.advance(29_999);
  expect(await ask(app, `/v2/${open}/manifests/1`)).toMatchObject({ status: 404, cache: 'hit; detail=negative' });
  app.clock.advance(1);
  await pullAll(app, open, '1');
});

test('a running download cannot be joined through a repository that is hidden, or was hidden meanwhile', async () => {
  const hides = [secret];
  const upstream = await registryOf({ hides });
  const held = image({ layerBytes: 4 * 1024 * 1024 });
  const layer = held.blobs[1]!;
  upstream.content.add(open, '1', held);
  upstream.content.add(secret, '1', held);
  const app = await startAppInMemory(withAccount(upstream));
  await pullManifest(app, open, '1');
  const door = gate();
  const blobs = /\/blobs\//;
  upstream.script({ method: 'GET', path: blobs }, { holdBody: { afterBytes: 1024 * 1024, until: door } });
  const download = await startOf(app, `/v2/${open}/blobs/${layer.digest}`);
  await download.read(1);
  const asked = upstream.count('GET', blobs);

  expect((await ask(app, `/v2/${secret}/blobs/${layer.digest}`)).status).toBe(404);
  hides.push(open);
  app.clock.advance(day);
  await hiddenNow(app, `/v2/${open}/manifests/1`);
  expect((await ask(app, `/v2/${open}/blobs/${layer.digest}`)).status).toBe(404);

  door.open();
  expect((await download.rest()).at(-1)).toBe(layer.bytes.at(-1));
  expect((await ask(app, `/v2/${open}/blobs/${layer.digest}`)).status).toBe(404);
  expect(upstream.count('GET', blobs)).toBe(asked);
});

test('repositories in publicRepositories are public without a check', async () => {
  const upstream = await registryOf();
  upstream.content.add('library/app', '1', image());
  const app = await startAppInMemory(withAccount(upstream, { publicRepositories: ['library/*'] }));
  await pullAll(app, 'library/app', '1');
  expect(questions(upstream)).toBe(0);
});

test('without credentials there is no check: everything was fetched anonymously', async () => {
  const upstream = await startFakeRegistry({ auth: { kind: 'bearer' } });
  upstream.content.add(open, '1', image());
  const app = await startAppInMemory(mirrorOf(upstream));
  await pullAll(app, open, '1');
  expect(questions(upstream)).toBe(0);
});

test('under "service" every client reads what the account can read, without a check', async () => {
  const upstream = await registryOf();
  upstream.content.add(secret, '1', image());
  const app = await startAppInMemory(withAccount(upstream, service));
  await pullAll(app, secret, '1');
  expect(questions(upstream)).toBe(0);
});

test('an unknown tag does not hide a public repository', async () => {
  const upstream = await registryOf();
  upstream.content.add(open, '1', image());
  const app = await startAppInMemory(withAccount(upstream));
  expect((await ask(app, `/v2/${open}/manifests/none`)).status).toBe(404);
  await pullAll(app, open, '1');
});

test('a denied repository is denied, be it hidden or not', async () => {
  const upstream = await registryOf();
  upstream.content.add(secret, '1', image());
  const app = await startAppInMemory(withAccount(upstream, { deny: ['team/*'] }));
  expect((await ask(app, `/v2/${secret}/manifests/1`)).status).toBe(403);
  expect(upstream.count()).toBe(0);
});

test('denied repositories are refused before any cache: manifests, blobs, tags and referrers alike', async () => {
  const upstream = await startFakeRegistry();
  const held = multiPlatformImage();
  upstream.content.add(open, '1', held, [referrerOf(held.manifest)]);
  const rules = (entry: object) => mirrorOf(upstream, { upstreams: { 'docker.io': { url: upstream.url, ...entry } } });
  const app = await startAppInMemory(rules({}));
  await pullAll(app, open, '1');
  for (const path of pathsOf(open, held)) expect((await ask(app, path)).status).toBe(200);
  await app.quiet();

  for (const entry of [{ deny: ['team/*'] }, { allow: ['library/*'] }, { allow: ['team/*'], deny: [open] }]) {
    await app.restart(rules(entry));
    upstream.forgetRequests();
    for (const path of pathsOf(open, held)) {
      const { status, body } = await ask(app, path);
      expect({ path, status }).toEqual({ path, status: 403 });
      expect(JSON.parse(body.toString())).toMatchObject({ errors: [{ code: 'DENIED' }] });
    }
    expect((await ask(app, '/v2/_catalog')).body.toString()).toBe('{"repositories":[]}');
    expect(upstream.count()).toBe(0);
  }
});
