import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image, multiPlatformImage } from '../support/images.ts';
import { get, pullAll } from '../support/pull.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';

/** It requires a token for everything, so that even a token request would be counted. */
const auth = { kind: 'bearer' } as const;

test('a second pull, by tag or by digest, asks the upstream nothing: no ping, no token, no HEAD', async () => {
  const upstream = await startFakeRegistry({ auth });
  upstream.content.add(repository, '1', multiPlatformImage());
  const app = await startApp(mirrorOf(upstream));
  const { digest } = await pullAll(app, repository, '1');
  await app.quiet();
  upstream.forgetRequests();
  for (const reference of ['1', digest]) {
    const { parts } = await pullAll(app, repository, reference);
    expect([...parts.values()].map(({ cache }) => cache)).toEqual([...parts.keys()].map(() => 'hit'));
  }
  expect(upstream.count()).toBe(0);
});

test('a HEAD of cached content asks the upstream nothing', async () => {
  const upstream = await startFakeRegistry({ auth });
  const held = image();
  upstream.content.add(repository, '1', held);
  const app = await startApp(mirrorOf(upstream));
  await pullAll(app, repository, '1');
  await app.quiet();
  upstream.forgetRequests();
  const paths = [
    'manifests/1',
    `manifests/${held.manifest.digest}`,
    ...held.blobs.map(({ digest }) => `blobs/${digest}`),
  ];
  for (const path of paths) {
    const answer = await ask(app, `/v2/${repository}/${path}`, { method: 'HEAD' });
    expect(answer).toMatchObject({ status: 200, cache: 'hit' });
    const { body } = await ask(app, `/v2/${repository}/${path}`);
    expect(answer.headers['content-length']).toBe(String(body.length));
  }
  expect(upstream.count()).toBe(0);
});

test('after a restart all cached content is served, though the upstream cannot be reached', async () => {
  const upstream = await startFakeRegistry({ auth });
  upstream.content.add(repository, '1', multiPlatformImage());
  const app = await startApp(mirrorOf(upstream));
  const first = await pullAll(app, repository, '1');
  await upstream.stop();
  await app.restart();
  const { parts } = await pullAll(app, repository, '1');
  expect([...parts.keys()].toSorted()).toEqual([...first.parts.keys()].toSorted());
  expect([...parts.values()].map(({ cache }) => cache)).toEqual([...parts.keys()].map(() => 'hit'));
});

test('a response has its digest, its ETag and its age', async () => {
  const upstream = await startFakeRegistry();
  const held = image();
  upstream.content.add(repository, '1', held);
  const app = await startApp(mirrorOf(upstream, { freshness: { tag: '1h' } }));
  await pullAll(app, repository, '1');
  await app.quiet();
  app.clock.advance(90_500);
  for (const { kind, digest } of [
    { kind: 'manifests', digest: held.manifest.digest },
    ...held.blobs.map((blob) => ({ kind: 'blobs', digest: blob.digest })),
  ]) {
    const { headers } = await get(app, `/v2/${repository}/${kind}/${digest}`);
    expect(Object.fromEntries(headers)).toMatchObject({
      'docker-content-digest': digest,
      etag: `"${digest}"`,
      'accept-ranges': 'bytes',
      age: '90',
      'cache-status': 'layerwell; hit',
      'docker-distribution-api-version': 'registry/2.0',
      'x-content-type-options': 'nosniff',
    });
  }
  expect((await get(app, `/v2/${repository}/manifests/1`)).headers.get('age')).toBe('90');
});

test('metrics tell hits from misses', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image());
  const app = await startApp(mirrorOf(upstream));
  await pullAll(app, repository, '1');
  await app.quiet();
  await pullAll(app, repository, '1');
  const metrics = await app.metrics();
  for (const cache of ['miss', 'hit']) {
    expect(metrics.sum('layerwell_http_requests_total', { kind: 'manifest', cache, upstream: 'docker.io' })).toBe(1);
    expect(metrics.sum('layerwell_http_requests_total', { kind: 'blob', cache, code: '200' })).toBe(2);
  }
  expect(metrics.sum('layerwell_upstream_requests_total', { upstream: 'docker.io' })).toBe(3);
});
