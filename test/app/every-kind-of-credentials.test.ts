import { expect, test, vi } from 'vitest';
import { accountKinds, type StartedKind } from '../support/account-kinds.ts';
import { ask } from '../support/client.ts';
import { gate } from '../support/gate.ts';
import { image } from '../support/images.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { thisTest } from '../support/owner.ts';
import { pullAll } from '../support/pull.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';

const repository = 'team/app';
const kinds = Object.entries(accountKinds).map(([kind, start]) => ({ kind, start }));
type Start = (clock: ManualClock) => Promise<StartedKind>;

/** A mirror with one upstream, known as registry.test, and an account of this kind there. */
async function startWith(start: Start) {
  const clock = new ManualClock();
  const started = await start(clock);
  stubEnv(started.env);
  const app = await startAppInMemory({ upstreams: { 'registry.test': started.entry } }, { clock });
  return { ...started, app };
}

function stubEnv(env: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  thisTest(async () => void vi.unstubAllEnvs());
}

/** Pulls an image that is not cached. */
async function pullAnother(app: RunningApp, { registry }: StartedKind, tag: string) {
  registry.content.add(repository, tag, image({ name: tag }));
  return ask(app, `/v2/${repository}/manifests/${tag}`);
}

/** Waits for background work, in which the secret is renewed. */
const eventually = { timeout: 5_000 };

test.each(kinds)('$kind: ten concurrent pulls cause one request to each token source', async ({ start }) => {
  const { app, ...account } = await startWith(start);

  const pulls = Array.from({ length: 10 }, (_, nth) => pullAnother(app, account, `tag-${nth}`));

  expect((await Promise.all(pulls)).map(({ status }) => status)).toEqual(pulls.map(() => 200));
  expect(await account.asked()).toEqual((await account.asked()).map(() => 1));
});

test.each(kinds)('$kind: a token is renewed before it expires, and no pull fails', async ({ start }) => {
  const { app, ...account } = await startWith(start);
  await pullAnother(app, account, 'before');
  const once = await account.asked();

  app.clock.advance(account.renewedAfterMs);

  expect((await pullAnother(app, account, 'after')).status).toBe(200);
  await expect.poll(account.asked, eventually).toEqual(once.map(() => 2));
});

test.each(kinds)('$kind: a rotated secret is used from the next pull on', async ({ start }) => {
  const { app, ...account } = await startWith(start);
  await pullAnother(app, account, 'before');
  // A source that was asked a moment ago is not asked again.
  app.clock.advance(11_000);

  await account.changeSecret('second-secret', { isTold: true });

  expect((await pullAnother(app, account, 'after')).status).toBe(200);
});

test.each(kinds)('$kind: a rejected secret is sent once in each way, and pulls fail with 502', async ({ start }) => {
  const { app, ...account } = await startWith(start);
  await account.changeSecret('rotated-without-notice', { isTold: false });

  for (let nth = 0; nth < 10; nth++) {
    const { status, body } = await pullAnother(app, account, `tag-${nth}`);
    expect(status).toBe(502);
    expect(JSON.parse(body.toString())).toMatchObject({ errors: [{ code: 'UNAVAILABLE' }] });
    expect(body.toString()).not.toContain('first-secret');
  }

  const shown = secretsShown(account);
  expect(shown).toEqual([...new Set(shown)]);
  expect(shown.length).toBeGreaterThan(0);
});

/** How a secret was sent: as Basic credentials, or in a posted form. */
function secretsShown({ registry, sources: [judge] }: StartedKind): readonly string[] {
  const toRegistry = registry.requests.flatMap(({ headers }) => headers.authorization ?? []);
  const toJudge = (judge?.asked ?? []).flatMap(({ headers, body }) => [
    ...(headers.authorization?.startsWith('Basic ') ? [headers.authorization] : []),
    ...(body === '' ? [] : [`posted ${new URLSearchParams(body).get('refresh_token')}`]),
  ]);
  return [...toRegistry.filter((one) => one.startsWith('Basic ')), ...toJudge];
}

/** A mirror with an upstream and an account of every kind, from each of which one image is cached. */
async function withAllKinds(freshness: object) {
  const clock = new ManualClock();
  const all = await Promise.all(
    kinds.map(async ({ kind, start }) => ({ name: `${kind}.test`, ...(await start(clock)) })),
  );
  stubEnv(Object.assign({}, ...all.map(({ env }) => env)));
  const upstreams = Object.fromEntries(all.map(({ name, entry }) => [name, entry]));
  const app = await startAppInMemory({ upstreams, freshness }, { clock });
  for (const { name, registry } of all) {
    registry.content.add(repository, 'cached', image({ name }));
    await pullAll(app, `${name}/${repository}`, 'cached');
  }
  await app.quiet();
  return { app, all };
}

async function askedSoFar(all: readonly StartedKind[]) {
  return Promise.all(all.map(async ({ asked, registry }) => ({ registry: registry.count(), proofs: await asked() })));
}

test('with every token server down and every credential expired and rejected, cached images are served without an upstream request', async () => {
  const { app, all } = await withAllKinds({ tag: 'forever' });
  for (const { changeSecret, sources } of all) {
    await changeSecret('rotated-without-notice', { isTold: false });
    await Promise.all(sources.map((source) => source.stop()));
  }
  app.clock.advance(30 * 24 * 3_600_000);
  const before = await askedSoFar(all);

  for (const { name } of all) {
    const { parts } = await pullAll(app, `${name}/${repository}`, 'cached');
    expect({ name, caches: [...new Set([...parts.values()].map(({ cache }) => cache))] }).toEqual({
      name,
      caches: ['hit'],
    });
  }

  expect(await askedSoFar(all)).toEqual(before);
});

test('cached content does not wait for a token server that hangs: by digest not at all, by tag a few seconds at most', async () => {
  const { app, all } = await withAllKinds({ tag: '1m' });
  const never = gate();
  for (const { registry, sources } of all) {
    registry.auth.revokeTokens();
    for (const source of sources) source.hold(never);
  }
  app.clock.advance(13 * 3_600_000);
  const [exec] = all.filter(({ name }) => name === 'exec.test');
  const startedAt = performance.now();

  const answers = await Promise.all(all.map(({ name }) => ask(app, `/v2/${name}/${repository}/manifests/cached`)));

  expect(performance.now() - startedAt).toBeLessThan(8_000);
  expect(answers.map(({ status, cache }) => ({ status, stale: cache.includes('stale') }))).toEqual(
    all.map(() => ({ status: 200, stale: true })),
  );
  expect(exec?.registry.count()).toBeGreaterThan(0);
  for (const { registry } of all) registry.forgetRequests();
  for (const [index, { name }] of all.entries()) {
    const digest = String(answers[index]?.headers['docker-content-digest']);
    expect((await ask(app, `/v2/${name}/${repository}/manifests/${digest}`)).cache).toBe('hit');
  }
  expect(all.map(({ registry }) => registry.count())).toEqual(all.map(() => 0));
});
