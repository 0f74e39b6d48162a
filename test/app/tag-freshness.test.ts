import { expect, test } from 'vitest';
import { ask, caughtUp } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const tagPath = `/v2/${repository}/manifests/1`;
const minute = 60_000;
const revalidated = 'fwd=stale; fwd-status=200; detail=revalidated';
const [one, two] = [image({ name: 'one' }), image({ name: 'two' })];

/** A mirror that has just pulled the tag, which means `one`. */
async function pulled(
  config: MirrorConfig = {},
): Promise<{ readonly upstream: FakeRegistry; readonly app: RunningApp }> {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', one);
  const app = await startAppInMemory(mirrorOf(upstream, config));
  await pullAll(app, repository, '1');
  await app.quiet();
  upstream.forgetRequests();
  return { upstream, app };
}

/** What the upstream was asked since the last call. */
function asked(upstream: FakeRegistry): readonly string[] {
  const requests = upstream.requests.map(({ method, path }) => `${method} ${path.replace(/^.*\/manifests\//, '')}`);
  upstream.forgetRequests();
  return requests;
}

test('a tag costs nothing within its lifetime, and one HEAD after it as long as it has not moved', async () => {
  const { upstream, app } = await pulled({ freshness: { tag: '5m' } });
  app.clock.advance(5 * minute - 1);
  expect((await ask(app, tagPath)).cache).toBe('hit');
  expect(asked(upstream)).toEqual([]);
  for (const _ of ['once', 'again']) {
    app.clock.advance(1);
    const answer = await ask(app, tagPath);
    expect(answer).toMatchObject({ cache: revalidated, headers: { age: '0' } });
    expect(answer.body.equals(one.manifest.bytes)).toBe(true);
    expect(asked(upstream)).toEqual(['HEAD 1']);
    app.clock.advance(5 * minute - 1);
    expect((await ask(app, tagPath)).cache).toBe('hit');
    expect(asked(upstream)).toEqual([]);
  }
});

test('a tag that has moved costs one GET more, by the new digest; the old digest stays', async () => {
  const { upstream, app } = await pulled();
  upstream.content.add(repository, '1', two);
  app.clock.advance(5 * minute);
  const answer = await ask(app, tagPath);
  expect(answer.body.equals(two.manifest.bytes)).toBe(true);
  expect(answer.cache).toBe('fwd=uri-miss; fwd-status=200; stored');
  expect(asked(upstream)).toEqual(['HEAD 1', `GET ${two.manifest.digest}`]);
  expect((await ask(app, tagPath)).cache).toBe('hit');
  expect((await ask(app, `/v2/${repository}/manifests/${one.manifest.digest}`)).cache).toBe('hit');
  expect(asked(upstream)).toEqual([]);
});

test('a tag that has moved to something cached costs no GET', async () => {
  const { upstream, app } = await pulled();
  upstream.content.add(repository, '2', two);
  await pullAll(app, repository, '2');
  asked(upstream);
  upstream.content.tag(repository, '1', two.manifest.digest);
  app.clock.advance(5 * minute);
  expect((await ask(app, tagPath)).body.equals(two.manifest.bytes)).toBe(true);
  expect(asked(upstream)).toEqual(['HEAD 1']);
});

test('twenty clients that ask for a tag past its lifetime cause one HEAD', async () => {
  const { upstream, app } = await pulled();
  app.clock.advance(5 * minute);
  const answering = gate();
  upstream.script({ method: 'HEAD' }, { holdHeaders: answering });
  const first = ask(app, tagPath);
  await upstream.arrived('HEAD', /./);
  const others = Array.from({ length: 19 }, (_, index) => ask(app, tagPath, { method: index % 2 ? 'GET' : 'HEAD' }));
  await caughtUp(app);
  answering.open();
  for (const { status, cache } of await Promise.all([first, ...others]))
    expect({ status, cache }).toEqual({ status: 200, cache: revalidated });
  expect(asked(upstream)).toEqual(['HEAD 1']);
});

test('twenty clients that ask for a tag that has moved get the new image from one GET', async () => {
  const { upstream, app } = await pulled();
  upstream.content.add(repository, '1', two);
  app.clock.advance(5 * minute);
  const answering = gate();
  upstream.script({ method: 'HEAD' }, { holdHeaders: answering });
  const clients = Array.from({ length: 20 }, () => ask(app, tagPath));
  await upstream.arrived('HEAD', /./);
  await caughtUp(app);
  answering.open();
  for (const { body } of await Promise.all(clients)) expect(body.equals(two.manifest.bytes)).toBe(true);
  expect(asked(upstream)).toEqual(['HEAD 1', `GET ${two.manifest.digest}`]);
});

test('if the upstream sends no digest with a HEAD, the tag is fetched again, and found unchanged', async () => {
  const { upstream, app } = await pulled();
  upstream.script({ method: 'HEAD' }, { withoutHeaders: ['docker-content-digest'] });
  app.clock.advance(5 * minute);
  expect((await ask(app, tagPath)).body.equals(one.manifest.bytes)).toBe(true);
  expect(asked(upstream)).toEqual(['HEAD 1', 'GET 1']);
  expect((await ask(app, tagPath)).cache).toBe('hit');
});

test('with a lifetime of 0s every pull is revalidated', async () => {
  const { upstream, app } = await pulled({ freshness: { tag: '0s' } });
  for (const _ of ['once', 'again']) expect((await ask(app, tagPath)).cache).toBe(revalidated);
  expect(asked(upstream)).toEqual(['HEAD 1', 'HEAD 1']);
});

test('with a lifetime of forever a tag is never asked for again', async () => {
  const { upstream, app } = await pulled({ freshness: { tag: 'forever' } });
  app.clock.advance(1_000 * 24 * 60 * minute);
  expect((await ask(app, tagPath)).cache).toBe('hit');
  expect(asked(upstream)).toEqual([]);
});

test('lifetimes differ by pattern and by upstream; the first pattern that matches counts, those of the upstream first', async () => {
  const upstream = await startFakeRegistry();
  const tags = ['latest', 'v1', 'sha-abc', 'other'];
  for (const tag of tags) upstream.content.add(repository, tag, one);
  const app = await startAppInMemory({
    defaultUpstream: 'docker.io',
    upstreams: { 'docker.io': { url: upstream.url, freshness: { tags: [{ match: '**:v*', tag: '3m' }] } } },
    freshness: {
      tag: '2m',
      tags: [
        { match: 'docker.io/library/*:latest', tag: '1m' },
        { match: '**:sha-*', tag: '30d' },
        { match: '**:v*', tag: '1s' },
      ],
    },
  });
  const freshAfterMs = async (ms: number) => {
    app.clock.advance(ms);
    const fresh: string[] = [];
    for (const tag of tags) {
      const { cache } = await ask(app, `/v2/${repository}/manifests/${tag}`, { method: 'HEAD' });
      if (cache === 'hit') fresh.push(tag);
    }
    return fresh;
  };
  expect(await freshAfterMs(0)).toEqual([]);
  expect(await freshAfterMs(minute - 1)).toEqual(tags);
  expect(await freshAfterMs(1)).toEqual(['v1', 'sha-abc', 'other']);
  expect(await freshAfterMs(minute)).toEqual(['v1', 'sha-abc']);
  expect(await freshAfterMs(minute)).toEqual(['sha-abc', 'other']);
});

test('a changed lifetime also applies to tags that are cached already', async () => {
  const { upstream, app } = await pulled({ freshness: { tag: '30d' } });
  app.clock.advance(10 * minute);
  await app.restart(mirrorOf(upstream, { freshness: { tag: '20m' } }));
  expect((await ask(app, tagPath)).cache).toBe('hit');
  await app.restart(mirrorOf(upstream, { freshness: { tag: '5m' } }));
  expect((await ask(app, tagPath)).cache).toBe(revalidated);
});

test('a tag that was just confirmed is still fresh after a restart', async () => {
  const { upstream, app } = await pulled();
  app.clock.advance(5 * minute);
  await ask(app, tagPath);
  asked(upstream);
  await app.restart();
  app.clock.advance(4 * minute);
  expect((await ask(app, tagPath)).cache).toBe('hit');
  expect(asked(upstream)).toEqual([]);
});

test('a tag that was confirmed in the future, since the clock was set back, is asked for again', async () => {
  const { upstream, app } = await pulled();
  app.clock.advance(-60 * minute);
  expect(await ask(app, tagPath)).toMatchObject({ status: 200, cache: revalidated, headers: { age: '0' } });
  expect((await ask(app, tagPath)).cache).toBe('hit');
  expect(asked(upstream)).toEqual(['HEAD 1']);
});

test('a 404 for a tag is remembered for a while, for GET and HEAD alike, and no longer', async () => {
  const { upstream, app } = await pulled({ freshness: { missing: '30s' } });
  const path = `/v2/${repository}/manifests/2`;
  expect((await ask(app, path)).status).toBe(404);
  expect(asked(upstream)).toEqual(['GET 2']);
  upstream.content.add(repository, '2', two);
  app.clock.advance(29_999);
  for (const method of ['GET', 'HEAD']) {
    expect(await ask(app, path, { method })).toMatchObject({ status: 404, cache: 'hit; detail=negative' });
  }
  expect(asked(upstream)).toEqual([]);
  app.clock.advance(1);
  expect((await ask(app, path)).status).toBe(200);
});

test('a 404 for a digest is remembered for a while', async () => {
  const { upstream, app } = await pulled();
  const path = `/v2/${repository}/manifests/${two.manifest.digest}`;
  for (const method of ['GET', 'HEAD', 'GET']) expect((await ask(app, path, { method })).status).toBe(404);
  expect(asked(upstream)).toHaveLength(1);
  app.clock.advance(30_000);
  expect((await ask(app, path)).status).toBe(404);
  expect(asked(upstream)).toHaveLength(1);
});

test('a tag that was deleted upstream is still served, and the answer says so', async () => {
  const { upstream, app } = await pulled();
  upstream.content.removeTag(repository, '1');
  app.clock.advance(5 * minute);
  const answer = await ask(app, tagPath);
  expect(answer.body.equals(one.manifest.bytes)).toBe(true);
  expect(answer.cache).toBe('fwd=stale; fwd-status=404; detail=stale');
  expect((await app.metrics()).sum('layerwell_stale_served_total', { reason: 'gone' })).toBe(1);
});

test('with deletedUpstream: deny, a tag that was deleted upstream is 404, and is served again once it is back', async () => {
  const { upstream, app } = await pulled({ freshness: { deletedUpstream: 'deny' } });
  upstream.content.removeTag(repository, '1');
  expect((await ask(app, tagPath)).cache).toBe('hit');
  app.clock.advance(5 * minute);
  for (const _ of ['asked', 'remembered']) expect((await ask(app, tagPath)).status).toBe(404);
  expect(asked(upstream)).toEqual(['HEAD 1', 'GET 1']);
  await app.restart();
  await upstream.stop();
  expect((await ask(app, tagPath)).status).toBe(503); // Nothing of it is remembered that could be served.
  await upstream.start();
  upstream.content.tag(repository, '1', one.manifest.digest);
  expect((await ask(app, tagPath)).body.equals(one.manifest.bytes)).toBe(true);
});

test('a tag that moves between HEAD and GET, and whose old manifest is deleted, is looked up once more', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', one);
  const app = await startAppInMemory(mirrorOf(upstream));
  await ask(app, tagPath, { method: 'HEAD' });
  upstream.content.add(repository, '1', two);
  upstream.script({ path: new RegExp(one.manifest.digest) }, { status: 404 });
  upstream.forgetRequests();
  const answer = await ask(app, tagPath);
  expect(answer.body.equals(two.manifest.bytes)).toBe(true);
  expect(asked(upstream)).toEqual([`GET ${one.manifest.digest}`, 'GET 1']);
  expect((await ask(app, tagPath)).cache).toBe('hit');
});

test('a tag that was deleted together with its manifest is 404, and the upstream was asked for both', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', one);
  const app = await startAppInMemory(mirrorOf(upstream));
  await ask(app, tagPath, { method: 'HEAD' });
  upstream.content.removeTag(repository, '1');
  upstream.script({ path: new RegExp(one.manifest.digest) }, { status: 404 });
  upstream.forgetRequests();
  expect((await ask(app, tagPath)).status).toBe(404);
  expect(asked(upstream)).toEqual([`GET ${one.manifest.digest}`, 'GET 1']);
});
