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

const line = {
  method: 'GET',
  status: 200,
  cache: 'hit',
  upstream: 'docker.io',
  repository: 'library/app',
  reference: '1',
  client: undefined,
  userAgent: 'y'.repeat(8_000),
};

test('a thousand requests are remembered, and of each no more than a short text of its client', () => {
  const recent = new RecentRequests();
  for (let count = 0; count < 2_500; count += 1) recent.record('manifest', line);
  recent.record('ping', line);
  const list = recent.list();
  expect(recent.recorded).toBe(2_500);
  expect(list.map(({ number }) => number)).toEqual(Array.from({ length: 1_000 }, (_, index) => 2_500 - index));
  expect(JSON.stringify(list).length).toBeLessThan(1_000 * 500);
});

test('a request with the longest names and a client that writes umlauts is remembered whole, and not mixed with the next', () => {
  const recent = new RecentRequests();
  const longest = {
    ...line,
    upstream: `${'u'.repeat(248)}.test`,
    repository: 'r'.repeat(255),
    reference: `sha512:${'0'.repeat(128)}`,
    client: '2001:db8:1111:2222:3333:4444:5555:6666',
    userAgent: 'ü'.repeat(300),
  };
  const short = { ...line, repository: undefined, reference: undefined, userAgent: undefined };
  for (const each of [longest, short, longest]) recent.record('blob', each);
  const { userAgent, ...names } = longest;
  const remembered = { ...names, kind: 'blob', userAgent: userAgent.slice(0, 200) };
  expect(recent.list()).toMatchObject([remembered, { ...short, kind: 'blob' }, remembered]);
});
