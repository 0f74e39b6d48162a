import { expect, test } from 'vitest';
import { askApi } from '../support/api-answers.ts';
import { ask } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';

/** A mirror of two registries that has pulled some tags. */
async function start(): Promise<{ readonly app: RunningApp; readonly hub: FakeRegistry }> {
  const [hub, quay] = [await startFakeRegistry(), await startFakeRegistry()];
  const app = await startApp({ upstreams: { 'docker.io': { url: hub.url }, 'quay.io': { url: quay.url } } });
  for (const name of ['library/nginx', 'library/node', 'acme/tool']) hub.content.add(name, '1', image());
  for (const tag of ['1.0', '1.1', 'latest']) hub.content.add('library/nginx', tag, image());
  quay.content.add('acme/tool', '1', image());
  for (const name of ['library/nginx', 'library/node', 'acme/tool']) await ask(app, `/v2/${name}/manifests/1`);
  for (const tag of ['1.0', '1.1', 'latest']) await ask(app, `/v2/library/nginx/manifests/${tag}`);
  await ask(app, '/v2/acme/tool/manifests/1?ns=quay.io');
  return { app, hub };
}

const namesIn = ({ body }: { readonly body: object }): readonly string[] =>
  Object(body)['items'].map((item: { readonly name: string }) => item.name);
const all = ['docker.io/acme/tool', 'docker.io/library/nginx', 'docker.io/library/node', 'quay.io/acme/tool'];

test('cached repositories are listed page by page, and filtered by registry and text', async () => {
  const { app } = await start();
  const whole = await askApi(app, '/api/v1/repositories');
  expect(namesIn(whole)).toEqual(all);
  expect(whole.body['nextCursor']).toBeUndefined();
  expect(Object(whole.body)['items'][0]).toMatchObject({
    name: all[0],
    registry: 'docker.io',
    repository: 'acme/tool',
  });
  expect(Object(whole.body)['items'][0]).toMatchObject({
    tags: 1,
    bytes: expect.any(Number),
    lastPullAt: expect.any(String),
  });

  const first = await askApi(app, '/api/v1/repositories?limit=3');
  expect(namesIn(first)).toEqual(all.slice(0, 3));
  const second = await askApi(app, `/api/v1/repositories?limit=3&cursor=${String(first.body['nextCursor'])}`);
  expect(namesIn(second)).toEqual(all.slice(3));
  expect(second.body['nextCursor']).toBeUndefined();

  expect(namesIn(await askApi(app, '/api/v1/repositories?registry=quay.io'))).toEqual(['quay.io/acme/tool']);
  expect(namesIn(await askApi(app, '/api/v1/repositories?text=TOOL'))).toEqual([all[0], all[3]]);
  expect(namesIn(await askApi(app, '/api/v1/repositories?text=tool&registry=docker.io'))).toEqual([all[0]]);
  expect(namesIn(await askApi(app, '/api/v1/repositories?text=nothing'))).toEqual([]);
});

test('the tags of a repository are listed page by page, with their digests', async () => {
  const { app } = await start();
  const path = '/api/v1/repositories/docker.io%2Flibrary%2Fnginx/tags';
  const { headers } = await ask(app, '/v2/library/nginx/manifests/latest');
  const whole = Object((await askApi(app, path)).body)['items'];
  expect(whole.map(({ tag }: { readonly tag: string }) => tag)).toEqual(['1', '1.0', '1.1', 'latest']);
  const digest = headers['docker-content-digest'];
  expect(whole.at(-1)).toMatchObject({ name: 'docker.io/library/nginx', tag: 'latest', digest, isStored: true });
  const first = await askApi(app, `${path}?limit=3`);
  const second = await askApi(app, `${path}?limit=3&cursor=${String(first.body['nextCursor'])}`);
  expect([...Object(first.body)['items'], ...Object(second.body)['items']]).toEqual(whole);
  expect(second.body['nextCursor']).toBeUndefined();
});

const tagsIn = ({ body }: { readonly body: object }): readonly string[] =>
  Object(body)['items'].map(({ name, tag }: { readonly name: string; readonly tag: string }) => `${name}:${tag}`);

test('the tags of all repositories are one list', async () => {
  const { app } = await start();
  const nginx = ['1', '1.0', '1.1', 'latest'].map((tag) => `docker.io/library/nginx:${tag}`);
  const every = ['docker.io/acme/tool:1', ...nginx, 'docker.io/library/node:1', 'quay.io/acme/tool:1'];
  expect(tagsIn(await askApi(app, '/api/v1/tags'))).toEqual(every);
  expect(tagsIn(await askApi(app, '/api/v1/tags?order=desc'))).toEqual(every.toReversed());
  expect(tagsIn(await askApi(app, '/api/v1/tags?text=NGINX:1.'))).toEqual(nginx.slice(1, 3));
  expect(tagsIn(await askApi(app, '/api/v1/tags?registry=quay.io'))).toEqual(every.slice(-1));
});

test('a tag says when it was pulled, when it was confirmed, and whether it is served without asking', async () => {
  const { app } = await start();
  const tag = async () => Object((await askApi(app, '/api/v1/tags?registry=quay.io')).body)['items'][0];
  const pulledAt = new Date(app.clock.now()).toISOString();
  const pulled = { firstPullAt: pulledAt, lastPullAt: pulledAt, confirmedAt: pulledAt, platforms: [] };
  expect(await tag()).toMatchObject({
    ...pulled,
    isFresh: true,
    mediaType: expect.any(String),
    bytes: expect.any(Number),
  });
  app.clock.advance(24 * 3_600_000);
  expect(await tag()).toMatchObject({ ...pulled, isFresh: false });
  await ask(app, '/v2/acme/tool/manifests/1?ns=quay.io');
  const later = new Date(app.clock.now()).toISOString();
  expect(await tag()).toMatchObject({ firstPullAt: pulledAt, lastPullAt: later, confirmedAt: later, isFresh: true });
});

test('lists are sorted by the last pull and by size, and filtered by both', async () => {
  const { app } = await start();
  await app.quiet();
  app.clock.advance(60_000);
  const since = new Date(app.clock.now()).toISOString();
  await ask(app, '/v2/library/node/manifests/1');
  expect(namesIn(await askApi(app, '/api/v1/repositories?sort=lastPull'))[0]).toBe('docker.io/library/node');
  expect(namesIn(await askApi(app, `/api/v1/repositories?pulledSince=${since}`))).toEqual(['docker.io/library/node']);
  expect(namesIn(await askApi(app, `/api/v1/repositories?pulledBefore=${since}`))).not.toContain(
    'docker.io/library/node',
  );
  expect(tagsIn(await askApi(app, `/api/v1/tags?sort=lastPull&pulledSince=${since}`))).toContain(
    'docker.io/library/node:1',
  );
  const sizes = async (query: string): Promise<readonly number[]> =>
    Object((await askApi(app, `/api/v1/tags?${query}`)).body)['items'].map(
      ({ bytes }: { readonly bytes: number }) => bytes,
    );
  const all = await sizes('sort=size');
  expect(all).toEqual(all.toSorted((one, other) => other - one));
  expect(all[0]).toBeGreaterThan(0);
  expect(await sizes(`minBytes=${(all[0] ?? 0) + 1}`)).toEqual([]);
});

test('a cursor of a list in another order is invalid', async () => {
  const { app } = await start();
  const { body } = await askApi(app, '/api/v1/tags?limit=1');
  expect((await askApi(app, `/api/v1/tags?limit=1&order=desc&cursor=${String(body['nextCursor'])}`)).status).toBe(400);
});

test('a repository that is not cached is not found, and a name that is none is invalid', async () => {
  const { app } = await start();
  const unknown = await askApi(app, '/api/v1/repositories/docker.io%2Flibrary%2Fnone/tags');
  expect(unknown).toMatchObject({ status: 404, body: { type: '/problems/not-found' } });
  for (const name of ['nginx', 'docker.io%2F..%2Fx', 'docker.io%2FUPPER', '%2Flibrary%2Fnginx', '%E0%A4']) {
    const answer = await askApi(app, `/api/v1/repositories/${name}/tags`);
    expect([400, 404]).toContain(answer.status);
  }
});

test.each([
  'limit=0',
  'limit=1001',
  'limit=-1',
  'limit=x',
  'cursor=x',
  `cursor=${Buffer.from('{"a":1}').toString('base64url')}`,
  `cursor=${'a'.repeat(2000)}`,
  'registry=',
  'sort=age',
  'order=up',
  'platform=linux',
  'pulledSince=yesterday',
  'minBytes=-1',
  `cursor=${Buffer.from('[1,"[]"]').toString('base64url')}`,
  `text=${'a'.repeat(301)}`,
])('a query that cannot be meant is invalid: %s', async (query) => {
  const app = await startApp({ upstreams: { 'docker.io': { url: 'http://127.0.0.1:9' } } });
  expect((await askApi(app, `/api/v1/repositories?${query}`)).status).toBe(400);
});
