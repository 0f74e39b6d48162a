import { expect, test } from 'vitest';
import { ask, open } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image, randomBlob } from '../support/images.ts';
import { startAppInMemory } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const blobs = /\/blobs\//;
/** Far less than the upstream timeouts, so that the request deadline ends the wait. It is 25 s outside of tests. */
const requestDeadlineMs = 400;
const blob = randomBlob(300_000);

const questions = [
  { what: 'a tag', path: `/v2/${repository}/manifests/1` },
  { what: 'a tag, by HEAD', path: `/v2/${repository}/manifests/1`, method: 'HEAD' },
  { what: 'a manifest', path: `/v2/${repository}/manifests/${image().manifest.digest}` },
  { what: 'a blob', path: `/v2/${repository}/blobs/${blob.digest}` },
  { what: 'a blob, by HEAD', path: `/v2/${repository}/blobs/${blob.digest}`, method: 'HEAD' },
  { what: 'a range of a blob', path: `/v2/${repository}/blobs/${blob.digest}`, headers: { range: 'bytes=5-9' } },
  { what: 'the tags', path: `/v2/${repository}/tags/list` },
  { what: 'the referrers', path: `/v2/${repository}/referrers/${image().manifest.digest}` },
];

test.each(questions)(
  'a request for $what gets 504 within the request deadline when the upstream never answers',
  async ({ path, method = 'GET', headers = {} }) => {
    const upstream = await startFakeRegistry();
    upstream.script({}, { holdHeaders: gate() });
    const app = await startAppInMemory(mirrorOf(upstream), { requestDeadlineMs });
    const answer = await ask(app, path, { method, headers });
    expect(answer.status).toBe(504);
    expect(answer.body.toString()).toMatch(method === 'HEAD' ? /^$/ : /^\{"errors":\[\{"code":"UNAVAILABLE"/);
  },
);

test('a token request that is never answered ends in 504 too', async () => {
  const upstream = await startFakeRegistry({ auth: { kind: 'bearer' } });
  upstream.content.add(repository, '1', image());
  upstream.script({ path: /^\/token$/ }, { holdHeaders: gate() });
  const app = await startAppInMemory(mirrorOf(upstream), { requestDeadlineMs });
  expect((await ask(app, `/v2/${repository}/manifests/1`)).status).toBe(504);
});

test('a client whose download gets no slot within the request deadline gets 504 too', async () => {
  const upstream = await startFakeRegistry();
  const [slow, waiting] = [randomBlob(2_000_000, 'slow'), randomBlob(300_000, 'waiting')];
  for (const one of [slow, waiting]) upstream.content.addBlob(repository, one);
  const half = gate();
  upstream.script({ path: new RegExp(slow.digest) }, { holdBody: { afterBytes: 1_000_000, until: half } });
  const app = await startAppInMemory(mirrorOf(upstream, { download: { maxConcurrent: 1 } }), { requestDeadlineMs });
  const first = await open(app, `/v2/${repository}/blobs/${slow.digest}`);
  expect((await ask(app, `/v2/${repository}/blobs/${waiting.digest}`)).status).toBe(504);
  half.open();
  expect((await first.rest()).equals(slow.bytes)).toBe(true);
  expect((await ask(app, `/v2/${repository}/blobs/${waiting.digest}`)).body.equals(waiting.bytes)).toBe(true);
});

test('the download continues after its client got 504, and the next pull is a hit', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.addBlob(repository, blob);
  const answering = gate();
  upstream.script({ path: blobs }, { holdHeaders: answering });
  const app = await startAppInMemory(mirrorOf(upstream), { requestDeadlineMs });
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  expect((await ask(app, path)).status).toBe(504);
  answering.open();
  await expect.poll(async () => (await app.metrics()).sum('layerwell_cache_fills_total', { result: 'ok' })).toBe(1);
  expect((await ask(app, path)).cache).toBe('hit');
  expect(upstream.count('GET', blobs)).toBe(1);
});

test.each([
  { how: 'stored on its way', storage: {} },
  { how: 'not stored, as there is no room', storage: { maxSize: '100KiB' } },
])('the request deadline is for the headers: a body that is $how may take longer', async ({ storage }) => {
  const upstream = await startFakeRegistry();
  upstream.content.addBlob(repository, blob);
  const half = gate();
  upstream.script({ path: blobs }, { holdBody: { afterBytes: 150_000, until: half } });
  const app = await startAppInMemory(mirrorOf(upstream, { storage }), { requestDeadlineMs });
  const answer = await open(app, `/v2/${repository}/blobs/${blob.digest}`);
  const start = await answer.read(1);
  // The deadline of a request without headers passes meanwhile.
  upstream.script({ path: /\/manifests\// }, { holdHeaders: gate() });
  expect((await ask(app, `/v2/${repository}/manifests/1`)).status).toBe(504);
  half.open();
  expect(Buffer.concat([start, await answer.rest()]).equals(blob.bytes)).toBe(true);
});

test('a list that takes longer than the request deadline is fetched to its end, and the next request gets it', async () => {
  const upstream = await startFakeRegistry({ tagsPerPage: 1 });
  for (const tag of ['a', 'b', 'c']) upstream.content.add(repository, tag, image());
  const app = await startAppInMemory(mirrorOf(upstream), { requestDeadlineMs });
  const second = gate();
  upstream.script({ times: 1 }, {});
  upstream.script({ times: 1 }, { holdHeaders: second });
  expect((await ask(app, `/v2/${repository}/tags/list`)).status).toBe(504);
  second.open();
  await upstream.arrived('GET', /tags/, 3);
  const { status, body } = await ask(app, `/v2/${repository}/tags/list`);
  expect({ status, ...JSON.parse(body.toString()) }).toMatchObject({ status: 200, tags: ['a', 'b', 'c'] });
  expect(upstream.count()).toBe(3);
});
