import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';

const repository = 'library/app';
const manifest = `/v2/${repository}/manifests`;
const minute = 60_000;
const account = { username: 'robot', password: 's3cr3t' };
const left = (remaining: number) => ({
  'ratelimit-limit': '100;w=21600',
  'ratelimit-remaining': `${remaining};w=21600`,
});

/** Docker Hub, and a mirror with an account there and a tag lifetime of a minute. */
async function start(headers: Record<string, string>, more: object = {}) {
  const hub = await startFakeRegistry({ auth: { kind: 'bearer', ...account, privateRepositories: [] } });
  hub.content.add(repository, '1', image());
  hub.content.manifestHeaders = headers;
  const entry = {
    url: hub.url,
    credentials: [{ kind: 'basic', ...account }],
    visibility: 'public',
    publicRepositories: ['**'],
    ...more,
  };
  const app = await startApp({ upstreams: { 'docker.io': entry }, freshness: { tag: '1m' } });
  return { hub, app };
}

async function limitOf(app: RunningApp, name: string, account = 'basic-1') {
  return (await app.metrics()).sum(`layerwell_upstream_ratelimit_${name}`, {
    upstream: 'docker.io',
    account,
  });
}

test('the remaining rate limit of an account is in the metrics, by its position and not by its name', async () => {
  const { hub, app } = await start(left(76));
  await ask(app, `${manifest}/1`);
  expect([await limitOf(app, 'limit'), await limitOf(app, 'remaining')]).toEqual([100, 76]);

  hub.content.manifestHeaders = left(12);
  app.clock.advance(minute);
  await ask(app, `${manifest}/1`);

  expect(await limitOf(app, 'remaining')).toBe(12);
  expect(await limitOf(app, 'window_seconds')).toBe(21_600);
});

test('with less than a tenth of the rate limit left, a cached tag stays fresh ten times as long', async () => {
  const { hub, app } = await start(left(9));
  await ask(app, `${manifest}/1`);
  hub.forgetRequests();

  app.clock.advance(10 * minute - 1);
  expect((await ask(app, `${manifest}/1`)).cache).toBe('hit');
  expect(hub.count()).toBe(0);

  app.clock.advance(1);
  expect((await ask(app, `${manifest}/1`)).cache).toContain('fwd=stale; fwd-status=200');
});

test('the anonymous rate limit does not count for the account, which alone is used to pull', async () => {
  const { hub, app } = await start(left(9), { publicRepositories: [] });
  hub.script({ method: 'HEAD', path: /\/manifests\//, times: 1 }, { headers: left(99) });
  await ask(app, `${manifest}/1`);
  expect(await limitOf(app, 'remaining', 'anonymous')).toBe(0);
  hub.forgetRequests();

  app.clock.advance(9 * minute);

  expect((await ask(app, `${manifest}/1`)).cache).toBe('hit');
});

test('when the rate limit is reached clients get 429 with Retry-After, and the upstream is not asked before that', async () => {
  const { hub, app } = await start({});
  hub.script({ method: 'GET', path: /\/manifests\// }, { status: 429, headers: { 'retry-after': '120' } });

  for (const [advanceMs, retryAfter] of [
    [0, '120'],
    [50_000, '70'],
  ] as const) {
    app.clock.advance(advanceMs);
    const { status, headers, body } = await ask(app, `${manifest}/2`);
    expect({ status, retryAfter: headers['retry-after'] }).toEqual({ status: 429, retryAfter });
    expect(JSON.parse(body.toString())).toMatchObject({ errors: [{ code: 'TOOMANYREQUESTS' }] });
  }

  expect(hub.seen('GET', /\/manifests\//).filter(({ headers }) => headers.authorization)).toHaveLength(1);
});

test('the end of the window is in the metrics where the upstream says it', async () => {
  const { hub, app } = await start(left(76));
  await ask(app, `${manifest}/1`);
  expect(await limitOf(app, 'reset_timestamp_seconds')).toBe(0);

  hub.content.manifestHeaders = { ...left(75), 'ratelimit-reset': '1200' };
  app.clock.advance(2 * minute);
  await ask(app, `${manifest}/1`);
  expect(await limitOf(app, 'reset_timestamp_seconds')).toBe(app.clock.now() / 1_000 + 1_200);
});
