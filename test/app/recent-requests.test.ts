import { expect, test } from 'vitest';
import { RecentRequests } from '../../src/http/middleware/access-log.ts';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { startApp } from '../support/start-app.ts';

async function pulledFrom() {
  const hub = await startFakeRegistry();
  const pulled = image();
  hub.content.add('library/app', '1', pulled);
  const upstreams = { 'docker.io': { url: hub.url } };
  const app = await startApp({ upstreams, management: { host: '127.0.0.1', port: 0 } });
  const requests = async (query = '') => {
    const answer = await fetch(`${app.managementUrl}/api/v1/requests${query}`);
    const { recorded, items }: { recorded: number; items: readonly Record<string, unknown>[] } = JSON.parse(
      await answer.text(),
    );
    return { status: answer.status, recorded, items };
  };
  return { app, digest: pulled.manifest.digest, requests };
}

test('the API lists what clients have asked for, the newest first', async () => {
  const { app, digest, requests } = await pulledFrom();
  await ask(app, '/v2/');
  await ask(app, '/v2/library/app/manifests/1');
  await ask(app, `/v2/library/app/manifests/${digest}`, { headers: { 'user-agent': '<script>' } });
  await expect.poll(async () => (await requests()).recorded).toBe(2);
  const shared = {
    kind: 'manifest',
    upstream: 'docker.io',
    repository: 'library/app',
    status: 200,
    client: '127.0.0.1',
  };
  expect(await requests()).toMatchObject({
    items: [
      { number: 2, reference: digest, cache: 'hit', userAgent: '<script>', ...shared },
      { number: 1, reference: '1', cache: 'miss', ...shared },
    ],
  });
  expect((await requests(`?reference=${digest}`)).items).toMatchObject([{ number: 2 }]);
  expect((await requests('?limit=1')).items).toMatchObject([{ number: 2 }]);
  expect((await requests('?limit=1001')).status).toBe(400);
});

test('a thousand requests are remembered, and of each no more than a short text of its client', () => {
  const recent = new RecentRequests();
  const line = {
    requestId: undefined,
    traceId: undefined,
    method: 'GET',
    path: 'x'.repeat(8_000),
    status: 200,
    cache: 'hit',
    staleReason: undefined,
    upstream: 'docker.io',
    repository: 'library/app',
    reference: '1',
    bytes: 0,
    durationMs: 0,
    client: undefined,
    proxy: undefined,
    userAgent: 'y'.repeat(8_000),
    aborted: false,
  };
  for (let count = 0; count < 2_500; count += 1) recent.record('manifest', line);
  recent.record('ping', line);
  const list = recent.list();
  expect(recent.recorded).toBe(2_500);
  expect(list.map(({ number }) => number)).toEqual(Array.from({ length: 1_000 }, (_, index) => 2_500 - index));
  expect(JSON.stringify(list).length).toBeLessThan(1_000 * 500);
});
