import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { askApi } from '../support/api-answers.ts';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf, startMirror } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

const token = 'a'.repeat(40);
const manifest = '/v2/library/app/manifests/1';

async function minutesOf(app: RunningApp, query = '') {
  const { body } = await askApi(app, `/api/v1/stats/minutes${query}`);
  return Object(body)['items'];
}

test('the last 24 hours are told by minute, and a restart is a gap in them', async () => {
  const hub = await startFakeRegistry();
  hub.content.add('library/app', '1', image());
  const app = await startApp(mirrorOf(hub));
  const { length } = (await ask(app, manifest)).body;
  await ask(app, manifest);
  const before = { requests: { hit: 1, miss: 1, none: 0 }, bytes: { served: 2 * length, fromUpstream: length } };
  expect(await minutesOf(app)).toMatchObject([{ at: '2030-01-01T00:00:00.000Z', ...before }]);

  app.clock.advance(60_000);
  await ask(app, manifest);
  expect(await minutesOf(app)).toMatchObject([before, { requests: { hit: 1, miss: 0 }, upstreamRequests: 0 }]);

  await app.stop();
  app.clock.advance(30 * 60_000);
  await app.restart();
  await ask(app, manifest);
  const all = await minutesOf(app);
  expect(all).toMatchObject([
    { at: '2030-01-01T00:00:00.000Z', ...before },
    { at: '2030-01-01T00:01:00.000Z', requests: { hit: 1 } },
    { at: '2030-01-01T00:31:00.000Z' },
  ]);
  expect(await minutesOf(app, '?from=2030-01-01T00:01:30Z')).toEqual(all.slice(1));
  expect((await askApi(app, '/api/v1/stats/minutes?from=yesterday')).status).toBe(400);
});

test('what an upstream sent still counts after a reload has removed it', async () => {
  const hub = await startFakeRegistry();
  hub.content.add('library/app', '1', image());
  const tokenFile = join(await temporaryDirectory(), 'token');
  await writeFile(tokenFile, token);
  const mirror = await startMirror(mirrorOf(hub));
  const management = { port: Number(new URL(mirror.managementUrl).port), tokenFile };
  const both = { 'docker.io': { url: hub.url }, 'gone.test': { url: hub.url } };
  await mirror.restart({ upstreams: both, management });
  await ask(mirror, `${manifest}?ns=gone.test`);
  const before = (await askApi(mirror, '/api/v1/stats')).body;
  expect(Object(before['bytes']).fromUpstream).toBeGreaterThan(0);
  await mirror.writeConfig(mirrorOf(hub, { management }));
  expect((await askApi(mirror, '/api/v1/reload', { method: 'POST', token })).status).toBe(200);
  const { body } = await askApi(mirror, '/api/v1/stats');
  expect(Object(body['bytes']).fromUpstream).toBeGreaterThanOrEqual(Object(before['bytes']).fromUpstream);
  expect(body['upstreamRequests']).toBeGreaterThanOrEqual(Number(before['upstreamRequests']));
});
