import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { askApi } from '../support/api-answers.ts';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf, startMirror } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

const token = 'a'.repeat(40);
const manifest = '/v2/library/app/manifests/1';

test('stats count what clients were sent, and from where it came', async () => {
  const hub = await startFakeRegistry();
  hub.content.add('library/app', '1', image());
  const app = await startApp(mirrorOf(hub));
  expect((await askApi(app, '/api/v1/stats')).body['requests']).toEqual({ total: 0, hitRatio: null, byCache: {} });

  const { length } = (await ask(app, manifest)).body;
  for (let again = 0; again < 3; again += 1) await ask(app, manifest);
  await ask(app, '/v2/');

  const { body } = await askApi(app, '/api/v1/stats');
  expect(body).toMatchObject({
    requests: {
      total: 4,
      hitRatio: 0.75,
      byCache: { hit: { answers: 3, bytes: 3 * length }, miss: { answers: 1, bytes: length } },
    },
    bytes: { served: 4 * length, fromUpstream: length, saved: 3 * length },
    top: {
      repositories: [{ name: 'docker.io/library/app', requests: 4, bytes: 4 * length }],
      other: { requests: 0, bytes: 0 },
    },
    storage: { manifests: 1, blobs: 0, contentBytes: length, isIndexComplete: true, quarantinedFiles: 0 },
  });
});

test('upstreams are told with their rate limit, their last failure and their circuit', async () => {
  const hub = await startFakeRegistry();
  hub.content.add('library/app', '1', image());
  hub.content.manifestHeaders = { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '76;w=21600' };
  const app = await startApp({
    upstreams: { 'docker.io': { url: hub.url }, 'gone.test': { url: 'http://127.0.0.1:9' } },
  });
  await ask(app, manifest);
  for (let again = 0; again < 10; again += 1) await ask(app, `${manifest}?ns=gone.test`);

  const { body } = await askApi(app, '/api/v1/upstreams');
  const [reachable, gone] = Object(body)['items'];
  expect(reachable).toMatchObject({
    name: 'docker.io',
    state: 'reachable',
    lastSuccessAt: new Date(app.clock.now()).toISOString(),
    circuits: [],
    running: 0,
    waiting: 0,
    rateLimits: [{ account: 'anonymous', limit: 100, remaining: 76, windowSeconds: 21_600 }],
    credentials: [],
  });
  expect(reachable.requests).toBeGreaterThan(0);
  expect(gone).toMatchObject({
    name: 'gone.test',
    state: 'unreachable',
    reason: 'connect',
    lastFailure: { reason: 'connect' },
    circuits: [{ endpoint: 'registry', state: 'open' }],
  });
  expect(gone.lastSuccessAt).toBeUndefined();
});

test('a reload that is asked for uses the file, and names what is wrong with one that is refused', async () => {
  const hub = await startFakeRegistry();
  const tokenFile = join(await temporaryDirectory(), 'token');
  await writeFile(tokenFile, token);
  const mirror = await startMirror(mirrorOf(hub));
  const management = { port: Number(new URL(mirror.managementUrl).port), tokenFile };
  await mirror.restart(mirrorOf(hub, { management }));
  const reload = () => askApi(mirror, '/api/v1/reload', { method: 'POST', token });

  await mirror.writeConfig(mirrorOf(hub, { management, freshness: { tag: '7m' }, download: { maxConcurrent: 3 } }));
  const used = await reload();
  expect(used.body).toEqual({ sha256: expect.stringMatching(/^[0-9a-f]{64}$/), needRestart: ['download'] });

  await mirror.writeConfig(mirrorOf(hub, { management, freshness: { tag: 'soon' } }));
  expect(await reload()).toMatchObject({
    status: 422,
    body: {
      type: '/problems/refused',
      problems: [expect.stringContaining('freshness.tag')],
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    },
  });
});
