import { expect, onTestFinished, test } from 'vitest';
import { ask, open } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image, randomBlob } from '../support/images.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';

const repository = 'library/app';
const maxRequests = 20;
const clients = 100;
const silentPath = (resource: string) => `/v2/${repository}/${resource}?ns=silent.test`;
const goodPath = (resource: string) => `/v2/${repository}/${resource}?ns=good.test`;
const { digest } = randomBlob(100_000, 'nobody has it');

/** A mirror before an upstream that has an image, and one that has been silent since its own image was pulled. */
async function mirrorBeforeSilence(entry: object = {}) {
  const [silent, good] = [await startFakeRegistry(), await startFakeRegistry()];
  const [cached, wanted] = [image({ name: 'cached' }), image({ name: 'wanted' })];
  silent.content.add(repository, 'latest', cached);
  good.content.add(repository, 'latest', wanted);
  const app = await startApp({
    defaultUpstream: 'good.test',
    upstreams: { 'good.test': { url: good.url }, 'silent.test': { url: silent.url, ...entry } },
    clients: { maxRequests },
  });
  await ask(app, silentPath('manifests/latest'));
  await ask(app, silentPath('tags/list'));
  const closed = gate();
  silent.script({}, { holdHeaders: closed });
  return { app, silent, cached, wanted };
}

/** Asks as a hundred clients that go away with the test: as many as may wait do, and the others are refused. */
async function crowd(app: RunningApp, silent: FakeRegistry, asked: (at: number) => Asked): Promise<void> {
  const requests = Array.from({ length: clients }, (_, at) => asked(at));
  silent.forgetRequests();
  const leaving = new AbortController();
  onTestFinished(() => leaving.abort());
  let refused = 0;
  for (const { path, method } of requests) {
    const answer = fetch(`${app.url}${path}`, { method, signal: leaving.signal });
    answer.then(
      ({ status, headers }) => {
        if (status === 503 && headers.get('retry-after') === '2') refused += 1;
      },
      () => {}, // It leaves with the test.
    );
  }
  await expect.poll(() => silent.count()).toBeGreaterThan(0);
  await expect.poll(() => refused).toBe(clients - maxRequests / 2);
}

interface Asked {
  readonly method: 'GET' | 'HEAD';
  readonly path: string;
}

const kinds: Readonly<Record<string, (at: number) => Asked>> = {
  'one manifest': () => ({ method: 'GET', path: silentPath(`manifests/${digest}`) }),
  'heads of one manifest': () => ({ method: 'HEAD', path: silentPath(`manifests/${digest}`) }),
  'many tags': (at) => ({ method: 'GET', path: silentPath(`manifests/v${at}`) }),
  'lists of tags': (at) => ({ method: 'GET', path: `/v2/library/other${at}/tags/list?ns=silent.test` }),
  'referrers of one digest': () => ({ method: 'GET', path: silentPath(`referrers/${digest}`) }),
  'one blob': () => ({ method: 'GET', path: silentPath(`blobs/${digest}`) }),
  'heads of one blob': () => ({ method: 'HEAD', path: silentPath(`blobs/${digest}`) }),
};

for (const [kind, asked] of Object.entries(kinds)) {
  test(`a hundred clients that wait for a silent upstream, for ${kind}, take nothing from the others`, async () => {
    const { app, silent, cached, wanted } = await mirrorBeforeSilence();
    await crowd(app, silent, asked);
    // Cold content of the other upstream, and what is cached of the silent one.
    const manifest = await ask(app, goodPath('manifests/latest'));
    expect(manifest).toMatchObject({ status: 200 });
    for (const blob of wanted.blobs) expect((await ask(app, goodPath(`blobs/${blob.digest}`))).status).toBe(200);
    const hit = await ask(app, silentPath(`manifests/${cached.manifest.digest}`));
    expect(hit).toMatchObject({ status: 200, cache: 'hit' });
    expect((await app.metrics()).sum('layerwell_http_rejected_total', { reason: 'upstream' })).toBeGreaterThan(0);
  });
}

test('a cached tag and a cached list are served while a hundred clients wait for their silent upstream', async () => {
  const { app, silent, cached } = await mirrorBeforeSilence({ freshness: { tag: '1m' } });
  await crowd(app, silent, () => ({ method: 'GET', path: silentPath(`blobs/${digest}`) }));
  app.clock.advance(61_000);
  const tag = await ask(app, silentPath('manifests/latest'));
  expect(tag.body.equals(cached.manifest.bytes)).toBe(true);
  expect(tag.cache).toContain('stale');
  expect(await ask(app, silentPath('tags/list'))).toMatchObject({
    status: 200,
    cache: expect.stringContaining('stale'),
  });
  // Neither was asked for.
  expect(silent.seen('HEAD', /manifests/)).toEqual([]);
  expect(silent.seen('GET', /tags/)).toEqual([]);
});

test('clients that wait for the check whether a repository is public leave other upstreams their share', async () => {
  const credentials = [{ kind: 'basic', username: 'mirror', password: 'secret' }];
  const { app, silent } = await mirrorBeforeSilence({ credentials, visibility: 'public' });
  await crowd(app, silent, (at) => ({ method: 'GET', path: `/v2/library/other${at}/manifests/1?ns=silent.test` }));
  expect(await ask(app, goodPath('manifests/latest'))).toMatchObject({ status: 200 });
});

test('a client that joins a running download is served, however many wait for its upstream', async () => {
  const { app, silent } = await mirrorBeforeSilence();
  const blob = randomBlob(200_000, 'begun');
  silent.content.addBlob(repository, blob);
  const flowing = gate();
  silent.clearScripts();
  silent.script({ path: new RegExp(blob.digest) }, { holdBody: { afterBytes: 100_000, until: flowing } });
  silent.script({}, { holdHeaders: gate() });
  const path = silentPath(`blobs/${blob.digest}`);
  const first = await open(app, path);
  await crowd(app, silent, (at) => ({ method: 'GET', path: silentPath(`manifests/v${at}`) }));
  const joined = await open(app, path);
  expect(joined).toMatchObject({ status: 200, cache: expect.stringContaining('collapsed') });
  flowing.open();
  for (const answer of [first, joined]) expect((await answer.rest()).equals(blob.bytes)).toBe(true);
});
