import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const day = 24 * 3_600_000;
const repository = 'library/app';
const mebibyte = 1024 * 1024;

test('an offline upstream gets no requests: cached content is served and never stale, anything else fails at once', async () => {
  const upstream = await startFakeRegistry();
  const held = image();
  upstream.content.add(repository, '1', held);
  upstream.content.add(repository, '2', image({ name: 'other' }));
  const app = await startApp(mirrorOf(upstream));
  await pullAll(app, repository, '1');
  await ask(app, `/v2/${repository}/tags/list`);
  await app.quiet();
  upstream.forgetRequests();

  await app.restart(mirrorOf(upstream, { freshness: { offline: true } }));
  app.clock.advance(400 * day);

  const { parts } = await pullAll(app, repository, '1');
  expect([...parts.values()].map(({ cache }) => cache)).toEqual([...parts.keys()].map(() => 'hit'));
  expect(await ask(app, `/v2/${repository}/tags/list`)).toMatchObject({ status: 200, cache: 'hit' });
  const blob = image({ name: 'other' }).blobs[0]!.digest;
  for (const path of ['manifests/2', `blobs/${blob}`, `referrers/${held.manifest.digest}`]) {
    const missing = await ask(app, `/v2/${repository}/${path}`);
    expect({ path, status: missing.status }).toEqual({ path, status: 503 });
    expect(missing.body.toString('utf8')).toContain('offline');
  }
  expect(upstream.count()).toBe(0);
});

test('content of an offline upstream is not evicted: it could not be fetched again', async () => {
  const [gone, other] = [await startFakeRegistry(), await startFakeRegistry()];
  gone.content.add(repository, '1', image({ layerBytes: mebibyte }));
  other.content.add(repository, '1', image({ name: 'other', layerBytes: mebibyte }));
  const upstreams = (offline: boolean) => ({
    'docker.io': { url: gone.url, freshness: { offline } },
    'other.example': { url: other.url },
  });
  const storage = { maxSize: '1500kB', minFree: '0B' };
  const app = await startApp({ upstreams: upstreams(false) });
  await pullAll(app, repository, '1');
  await app.quiet();
  const { dataDirectory: path } = app;

  await app.restart({ upstreams: upstreams(true), storage: { ...storage, path } });
  await pullAll(app, `other.example/${repository}`, '1');
  await app.quiet();

  const { parts } = await pullAll(app, repository, '1');
  expect([...parts.values()].map(({ cache }) => cache)).toEqual([...parts.keys()].map(() => 'hit'));
});
