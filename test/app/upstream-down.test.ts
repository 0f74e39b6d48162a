import { expect, test } from 'vitest';
import { circuitIs } from '../support/circuit.ts';
import { ask, caughtUp, type WholeAnswer } from '../support/client.ts';
import type { Fault } from '../support/fake-answer.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { pullAll } from '../support/pull.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { minute, one, pulled, repository, two } from '../support/pulled-image.ts';

const tagPath = `/v2/${repository}/manifests/1`;
const listPath = `/v2/${repository}/tags/list`;
const referrersPath = `/v2/${repository}/referrers/${one.manifest.digest}`;
/** The soft timeout before a stale answer, plus time for a busy machine. */
const aFewSecondsMs = 4_000;
/** A look at an upstream that gives no answer is repeated twice, within a moment. */
const tries = 3;
const isStale = /^fwd=stale;.* detail=stale$/;

function expectOne(answer: WholeAnswer): void {
  expect(answer.status).toBe(200);
  expect(answer.body.equals(one.manifest.bytes)).toBe(true);
}

/** Sent when the circuit half-opens. */
function later(app: RunningApp): void {
  app.clock.advance(10 * minute);
}

const failures: readonly {
  readonly what: string;
  readonly fault: Fault;
  readonly reason: string;
  readonly cache: string;
}[] = [
  {
    what: 'closes every connection',
    fault: { dropConnection: true },
    reason: 'connect',
    cache: 'fwd=stale; detail=stale',
  },
  { what: 'answers 500', fault: { status: 500 }, reason: 'error', cache: 'fwd=stale; fwd-status=500; detail=stale' },
  { what: 'answers 503', fault: { status: 503 }, reason: 'error', cache: 'fwd=stale; fwd-status=503; detail=stale' },
  {
    what: 'answers 429',
    fault: { status: 429, headers: { 'retry-after': '60' } },
    reason: 'rateLimit',
    cache: 'fwd=stale; fwd-status=429; detail=stale',
  },
  { what: 'answers 401', fault: { status: 401 }, reason: 'refused', cache: 'fwd=stale; fwd-status=401; detail=stale' },
  { what: 'answers 403', fault: { status: 403 }, reason: 'refused', cache: 'fwd=stale; fwd-status=403; detail=stale' },
  {
    what: 'answers with nonsense',
    fault: { status: 418 },
    reason: 'error',
    cache: 'fwd=stale; fwd-status=418; detail=stale',
  },
];

test.each(failures)(
  'while the upstream $what, a cached image is served whole, with its tag marked stale',
  async ({ fault, reason, cache }) => {
    const { upstream, app } = await pulled();
    upstream.script({}, fault);
    for (const method of ['GET', 'HEAD']) {
      const answer = await ask(app, tagPath, { method });
      expect(answer).toMatchObject({
        status: 200,
        headers: { 'docker-content-digest': one.manifest.digest, age: '300' },
      });
      expect(answer.cache).toBe(cache);
    }
    const { digest, parts } = await pullAll(app, repository, '1');
    expect(digest).toBe(one.manifest.digest);
    expect([...parts.values()].slice(1).map(({ cache }) => cache)).toEqual(['hit', 'hit']);
    expect((await app.metrics()).sum('layerwell_stale_served_total', { reason })).toBeGreaterThan(0);
    expect(app.logLines.filter(({ cache }) => cache === 'stale')).toContainEqual(
      expect.objectContaining({ path: tagPath, staleReason: reason }),
    );
  },
);

test.each([
  { what: 'whose name does not exist', url: () => 'http://registry.invalid', reason: 'dns' },
  { what: 'that cannot prove who it is', url: (http: string) => http.replace('http:', 'https:'), reason: 'tls' },
])(
  'an upstream $what counts as down: cached content is served, and the answer says why it is stale',
  async (changed) => {
    const { upstream, app } = await pulled();
    await app.restart(mirrorOf({ url: changed.url(upstream.url) }));
    const { cache, body } = await ask(app, tagPath);
    expect({ cache, isOne: body.equals(one.manifest.bytes) }).toEqual({
      cache: 'fwd=stale; detail=stale',
      isOne: true,
    });
    expect((await app.metrics()).sum('layerwell_stale_served_total', { reason: changed.reason })).toBe(1);
  },
);

test('an upstream that is down gets one request in a while, not one a pull; when it is back, the tag is revalidated', async () => {
  const { upstream, app } = await pulled();
  upstream.script({}, { status: 503 });
  for (let pull = 0; pull < 10; pull += 1) expectOne(await ask(app, tagPath));
  expect(upstream.count()).toBe(tries);
  app.clock.advance(30_000);
  for (let pull = 0; pull < 10; pull += 1) expectOne(await ask(app, tagPath));
  expect(upstream.count()).toBe(2 * tries);
  upstream.clearScripts();
  later(app);
  expect((await ask(app, tagPath)).cache).toBe('fwd=stale; fwd-status=200; detail=revalidated');
});

test('an upstream that never answers delays a cached tag by a few seconds once, and then not at all', async () => {
  const { upstream, app } = await pulled();
  const never = gate();
  upstream.script({}, { holdHeaders: never });
  const startedAt = performance.now();
  const first = await ask(app, tagPath);
  const firstMs = performance.now() - startedAt;
  expectOne(first);
  expect(first.cache).toMatch(isStale);
  expect(firstMs).toBeLessThan(aFewSecondsMs);
  for (let pull = 0; pull < 20; pull += 1) expectOne(await ask(app, tagPath));
  expect(performance.now() - startedAt - firstMs).toBeLessThan(firstMs / 2);
  expect(upstream.count()).toBe(1);
});

test('the late answer of a slow upstream counts for the next pull', async () => {
  const { upstream, app } = await pulled();
  upstream.content.add(repository, '1', two);
  const answering = gate();
  upstream.script({ method: 'HEAD' }, { holdHeaders: answering });
  expectOne(await ask(app, tagPath));
  answering.open();
  await expect.poll(async () => (await ask(app, tagPath)).headers['docker-content-digest']).toBe(two.manifest.digest);
  expect(upstream.count('HEAD')).toBe(1);
});

test('uncached content is answered 503 while the upstream is down, is not remembered as missing, and is served when it is back', async () => {
  const { upstream, app } = await pulled();
  upstream.content.add(repository, '2', two);
  await upstream.stop();
  const paths = ['manifests/2', `manifests/${two.manifest.digest}`, `blobs/${two.blobs[0]?.digest}`];
  for (const path of paths) {
    const answer = await ask(app, `/v2/${repository}/${path}`);
    expect(answer.status).toBe(503);
    expect(JSON.parse(answer.body.toString())).toMatchObject({ errors: [{ code: 'UNAVAILABLE' }] });
  }
  await circuitIs(app, 'open');
  await upstream.start();
  later(app);
  for (const path of paths) expect((await ask(app, `/v2/${repository}/${path}`)).status).toBe(200);
});

test('after staleFor, counted from the end of its lifetime, a tag is no longer served without its upstream', async () => {
  const { upstream, app } = await pulled({ freshness: { tag: '5m', staleFor: '1h' } });
  await upstream.stop();
  app.clock.advance(60 * minute - 1);
  expectOne(await ask(app, tagPath));
  app.clock.advance(30_001);
  expect((await ask(app, tagPath)).status).toBe(503);
});

test('after a start without network an image is served whose tag was confirmed long ago', async () => {
  const { upstream, app } = await pulled();
  await upstream.stop();
  await app.restart();
  const { parts } = await pullAll(app, repository, '1');
  expect([...parts.values()][0]?.cache).toMatch(isStale);
});

test.each([
  { what: 'cannot be had', fault: { status: 503 }, gets: tries },
  { what: 'breaks off', fault: { cutAfterBytes: 10 }, gets: tries },
  { what: 'has other bytes than its digest names', fault: { body: () => Buffer.from('{}') } },
  // Then the tag is asked for as well: it may have moved once more.
  { what: 'is not there', fault: { status: 404 }, gets: 2 },
] satisfies readonly { what: string; fault: Fault; gets?: number }[])(
  'a tag that has moved to a manifest that $what serves the previous image, marked stale, until the new one is available',
  async ({ fault, gets = 1 }: { fault: Fault; gets?: number }) => {
    const { upstream, app } = await pulled();
    upstream.content.add(repository, '1', two);
    upstream.script({ method: 'GET', path: /\/manifests\// }, fault);
    for (const _ of ['asked', 'remembered']) {
      const answer = await ask(app, tagPath);
      expectOne(answer);
      expect(answer.cache).toMatch(isStale);
      expect(answer.headers['docker-content-digest']).toBe(one.manifest.digest);
    }
    expect(upstream.count('GET')).toBe(gets);
    upstream.clearScripts();
    later(app);
    expect((await ask(app, tagPath)).body.equals(two.manifest.bytes)).toBe(true);
  },
);

test('a pull during a tag lookup that gets no answer gets the previous image', async () => {
  const { upstream, app } = await pulled();
  upstream.content.add(repository, '1', two);
  const answering = gate();
  upstream.script({ method: 'GET', path: new RegExp(two.manifest.digest) }, { status: 404 });
  upstream.script({ method: 'GET', path: /manifests\/1$/ }, { holdHeaders: answering, status: 503 });
  const first = ask(app, tagPath);
  await upstream.arrived('GET', /manifests\/1$/);
  later(app);
  const second = ask(app, tagPath);
  await caughtUp(app);
  answering.open();
  for (const answer of await Promise.all([first, second])) expectOne(answer);
});

test('a tag that only a HEAD saw moving serves the previous image if the upstream goes down then', async () => {
  const { upstream, app } = await pulled();
  upstream.content.add(repository, '1', two);
  const head = await ask(app, tagPath, { method: 'HEAD' });
  expect(head.headers['docker-content-digest']).toBe(two.manifest.digest);
  await upstream.stop();
  await app.restart();
  for (const _ of ['asked', 'remembered']) {
    const answer = await ask(app, tagPath);
    expectOne(answer);
    expect(answer.cache).toMatch(isStale);
  }
});

test('a moved manifest that never arrives delays the previous image by a few seconds', async () => {
  const { upstream, app } = await pulled();
  upstream.content.add(repository, '1', two);
  upstream.script({ method: 'GET' }, { holdHeaders: gate() });
  const startedAt = performance.now();
  expectOne(await ask(app, tagPath));
  expect(performance.now() - startedAt).toBeLessThan(aFewSecondsMs);
});

test.each([
  { path: tagPath },
  { path: `/v2/${repository}/manifests/${one.manifest.digest}` },
  { path: `/v2/${repository}/blobs/${one.blobs[0]?.digest}` },
  { path: listPath },
  { path: referrersPath },
])('if the upstream does not answer in time, the client gets 504: $path', async ({ path }) => {
  const upstream = await startFakeRegistry();
  upstream.script({}, { holdHeaders: gate() });
  const app = await startAppInMemory({
    upstreams: { 'docker.io': { url: upstream.url, timeouts: { connect: '100ms', headers: '200ms' } } },
  });
  const answer = await ask(app, path);
  expect(answer.status).toBe(504);
  expect(JSON.parse(answer.body.toString())).toMatchObject({ errors: [{ code: 'UNAVAILABLE' }] });
});
