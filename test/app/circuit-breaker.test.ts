import { expect, test } from 'vitest';
import { answeredLatelyMs } from '../../src/upstream/failover/circuit-breaker.ts';
import { circuitIs, circuitState } from '../support/circuit.ts';
import { ask } from '../support/client.ts';
import type { Fault } from '../support/fake-answer.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image, randomBlob } from '../support/images.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';
import { selfSigned } from '../unit/upstream/certificates.ts';
import { serveTls } from '../unit/upstream/serve-tls.ts';

const repository = 'library/app';
const manifest = (reference: string): string => `/v2/${repository}/manifests/${reference}`;
const ping = /^\/v2\/$/;
/** The time an upstream gets no requests after three failures in a row. */
const openMs = 10_000;

interface Dead {
  readonly upstream: FakeRegistry;
  readonly app: RunningApp;
}

/** An upstream that breaks every connection, and a mirror whose circuit has just opened. */
async function dead(more: MirrorConfig = {}): Promise<Dead> {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image());
  upstream.script({}, { dropConnection: true });
  const app = await startAppInMemory(mirrorOf(upstream, more));
  for (const tag of ['a', 'b', 'c']) expect((await ask(app, manifest(tag))).status).toBe(503);
  await circuitIs(app, 'open');
  upstream.forgetRequests();
  return { upstream, app };
}

test('after three failures an upstream is not contacted any more: clients get an error with Retry-After at once', async () => {
  const { upstream, app } = await dead();
  const paths = [manifest('1'), `/v2/${repository}/blobs/${randomBlob(10).digest}`, `/v2/${repository}/tags/list`];
  for (const path of paths) {
    const { status, headers, body } = await ask(app, path);
    expect({ status, retryAfter: headers['retry-after'] }).toEqual({ status: 503, retryAfter: '10' });
    expect(JSON.parse(body.toString())).toMatchObject({ errors: [{ code: 'UNAVAILABLE' }] });
  }
  expect(upstream.count()).toBe(0);
  expect(await circuitState(app)).toBe('open');
});

test('when the circuit half-opens, the upstream is pinged once; clients that arrive meanwhile wait for at most a second', async () => {
  const { upstream, app } = await dead();
  upstream.clearScripts();
  const answering = gate();
  upstream.script({ path: ping }, { holdHeaders: answering });
  app.clock.advance(openMs);
  const startedAt = performance.now();
  const early = await Promise.all(['d', 'e', 'f'].map((tag) => ask(app, manifest(tag))));
  expect(early.map(({ status }) => status)).toEqual([503, 503, 503]);
  expect(performance.now() - startedAt).toBeLessThan(5_000);
  expect(upstream.requests.map(({ path }) => path)).toEqual(['/v2/']);
  expect(await circuitState(app)).toBe('half-open');

  const waiting = ask(app, manifest('1'));
  answering.open();
  expect((await waiting).status).toBe(200);
  expect(await circuitState(app)).toBe('closed');
  expect(upstream.count('GET', ping)).toBe(1);
});

test('no pull is the trial of a half-open circuit: a client is served at once when the upstream is back', async () => {
  const { upstream, app } = await dead();
  upstream.clearScripts();
  upstream.script({ path: /manifests\/bad$/ }, { status: 500 });
  app.clock.advance(openMs);
  expect((await ask(app, manifest('bad'))).status).toBe(503);
  expect(await circuitState(app)).toBe('closed');
  expect((await ask(app, manifest('1'))).status).toBe(200);
});

test('when the trial fails, the circuit stays open twice as long', async () => {
  const { upstream, app } = await dead();
  app.clock.advance(openMs);
  expect((await ask(app, manifest('d'))).status).toBe(503);
  expect(upstream.count()).toBeGreaterThan(0);
  upstream.forgetRequests();
  app.clock.advance(2 * openMs - 1);
  expect((await ask(app, manifest('e'))).headers['retry-after']).toBe('1');
  expect(upstream.count()).toBe(0);
  app.clock.advance(1);
  upstream.clearScripts();
  expect((await ask(app, manifest('1'))).status).toBe(200);
});

test('any number of 404s leaves the circuit closed', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image());
  const app = await startAppInMemory(mirrorOf(upstream));
  for (let asked = 0; asked < 10; asked += 1) {
    expect((await ask(app, manifest(`missing-${asked}`))).status).toBe(404);
    const blob = `/v2/${repository}/blobs/${randomBlob(10, `missing ${asked}`).digest}`;
    expect((await ask(app, blob)).status).toBe(404);
  }
  expect(upstream.count()).toBe(20);
  expect(await circuitState(app)).toBeUndefined();
  expect((await ask(app, manifest('1'))).status).toBe(200);
});

test('cached content is served without delay while the circuit is open', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image());
  const app = await startAppInMemory(mirrorOf(upstream, { freshness: { tag: '0s' } }));
  await ask(app, manifest('1'));
  upstream.script({}, { dropConnection: true });
  for (const tag of ['a', 'b', 'c']) await ask(app, manifest(tag));
  await circuitIs(app, 'open');
  upstream.forgetRequests();
  expect(await ask(app, manifest('1'))).toMatchObject({ status: 200, cache: 'fwd=stale; detail=stale' });
  expect(upstream.count()).toBe(0);
});

type StaleRules = Readonly<Record<string, 'serve' | 'fail'>>;

/** Of several repositories: failures of a single one do not open the circuit. */
const paths = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i'].map((name) => `/v2/library/${name}/manifests/1`);

/** An upstream, and a mirror that pulled all of `paths` longer ago than it may trust them. */
async function allPulled(staleOn: StaleRules): Promise<Dead> {
  const upstream = await startFakeRegistry();
  for (const path of paths) upstream.content.add(path.slice('/v2/'.length, -'/manifests/1'.length), '1', image());
  const app = await startAppInMemory(mirrorOf(upstream, { freshness: { tag: '0s', staleOn } }));
  for (const path of paths) expect((await ask(app, path)).status).toBe(200);
  await app.quiet();
  app.clock.advance(answeredLatelyMs);
  upstream.forgetRequests();
  return { upstream, app };
}

async function statusOfEach(app: RunningApp, asked: readonly string[]): Promise<readonly number[]> {
  const statuses: number[] = [];
  for (const path of asked) statuses.push((await ask(app, path)).status);
  return statuses;
}

async function servedStale(app: RunningApp, reason: string): Promise<number> {
  return (await app.metrics()).sum('layerwell_stale_served_total', { reason });
}

const failures: readonly {
  readonly what: string;
  readonly fault: Fault;
  readonly cause: string;
  readonly other: string;
}[] = [
  { what: 'breaks every connection', fault: { dropConnection: true }, cause: 'connect', other: 'error' },
  { what: 'answers 503', fault: { status: 503 }, cause: 'error', other: 'connect' },
];

test.each(failures)(
  'while an upstream $what, a staleOn rule for another reason changes nothing: every cached tag is served, with a closed and an open circuit',
  async ({ fault, cause, other }) => {
    const { upstream, app } = await allPulled({ [other]: 'fail' });
    upstream.script({}, fault);
    expect(await statusOfEach(app, paths.slice(0, 5))).toEqual(paths.slice(0, 5).map(() => 200));
    await circuitIs(app, 'open');
    expect(await statusOfEach(app, paths.slice(5))).toEqual(paths.slice(5).map(() => 200));
    expect([await servedStale(app, cause), await servedStale(app, other)]).toEqual([paths.length, 0]);
  },
);

test.each(failures)(
  'while an upstream $what, a staleOn rule against it serves no cached tag, with a closed or an open circuit',
  async ({ fault, cause }) => {
    const { upstream, app } = await allPulled({ [cause]: 'fail' });
    upstream.script({}, fault);
    expect(await statusOfEach(app, paths.slice(0, 5))).toEqual(paths.slice(0, 5).map(() => 503));
    await circuitIs(app, 'open');
    expect(await statusOfEach(app, paths.slice(5))).toEqual(paths.slice(5).map(() => 503));
    expect(await servedStale(app, cause)).toBe(0);
  },
);

test('an upstream that fails for another reason at its next trial is treated by that reason from then on', async () => {
  const { upstream, app } = await allPulled({ connect: 'fail' });
  upstream.script({}, { status: 503 });
  expect(await statusOfEach(app, paths)).toEqual(paths.map(() => 200));
  await circuitIs(app, 'open');
  upstream.clearScripts();
  upstream.script({}, { dropConnection: true });
  app.clock.advance(openMs);
  expect(await statusOfEach(app, paths)).toEqual(paths.map(() => 503));
});

test('a registry with an untrusted certificate causes 502, also while its circuit is open', async () => {
  const { certificate, key } = await selfSigned('registry');
  const app = await startAppInMemory(mirrorOf({ url: await serveTls({ cert: certificate, key }) }));
  expect(await statusOfEach(app, paths)).toEqual(paths.map(() => 502));
  await circuitIs(app, 'open');
  expect((await ask(app, manifest('a'))).headers['retry-after']).toBe('10');
});

test('a registry that does not answer in time causes 504, also while its circuit is open', async () => {
  const upstream = await startFakeRegistry();
  upstream.script({}, { holdHeaders: gate() });
  const timeouts = { connect: '50ms', headers: '50ms' };
  const app = await startAppInMemory({ upstreams: { 'docker.io': { url: upstream.url, timeouts } } });
  expect(await statusOfEach(app, paths.slice(0, 3))).toEqual([504, 504, 504]);
  await circuitIs(app, 'open');
  upstream.forgetRequests();
  expect(await statusOfEach(app, paths)).toEqual(paths.map(() => 504));
  expect(upstream.count()).toBe(0);
});

test('an open circuit of one upstream does not affect another', async () => {
  const other = await startFakeRegistry();
  other.content.add('team/app', '1', image());
  const broken = await startFakeRegistry();
  broken.script({}, { dropConnection: true });
  const upstreams = { 'docker.io': { url: broken.url }, 'ghcr.io': { url: other.url } };
  const app = await startAppInMemory({ defaultUpstream: 'docker.io', upstreams });
  for (const tag of ['a', 'b', 'c']) await ask(app, manifest(tag));
  await circuitIs(app, 'open');
  expect((await ask(app, '/v2/team/app/manifests/1?ns=ghcr.io')).status).toBe(200);
});

test('a repository without a visibility verdict does not wait for an upstream whose circuit is open', async () => {
  const account = { kind: 'basic', username: 'mirror', password: 'secret' };
  const upstream = await startFakeRegistry();
  upstream.script({}, { dropConnection: true });
  const entry = { url: upstream.url, credentials: [account], visibility: 'public' };
  const app = await startAppInMemory({ upstreams: { 'docker.io': entry } });
  for (const name of ['a', 'b', 'c']) expect((await ask(app, `/v2/team/${name}/tags/list`)).status).toBe(503);
  await circuitIs(app, 'open');
  upstream.forgetRequests();

  const { status, headers } = await ask(app, '/v2/team/d/tags/list');

  expect({ status, retryAfter: headers['retry-after'] }).toEqual({ status: 503, retryAfter: '10' });
  expect(upstream.count()).toBe(0);
});
