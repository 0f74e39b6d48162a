import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { refresh } from '../../src/commands/content/refresh.ts';
import { askApi } from '../support/api-answers.ts';
import { ask, caughtUp } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { startApp } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

const token = 'a'.repeat(40);
const repository = 'docker.io/library/app';
const path = '/v2/library/app/manifests/1';
const [one, two] = [image({ name: 'one' }), image({ name: 'two' })];

/** A mirror that has just pulled the tag, which means `one`. */
async function pulled(config: MirrorConfig = {}) {
  const upstream = await startFakeRegistry();
  upstream.content.add('library/app', '1', one);
  const tokenFile = join(await temporaryDirectory(), 'token');
  await writeFile(tokenFile, token);
  const app = await startApp(mirrorOf(upstream, { ...config, management: { host: '127.0.0.1', port: 0, tokenFile } }));
  await pullAll(app, 'library/app', '1');
  await app.quiet();
  upstream.forgetRequests();
  const headers = { 'content-type': 'application/json' };
  const refreshed = (body: object) =>
    askApi(app, '/api/v1/refresh', { method: 'POST', token, headers, body: JSON.stringify(body) });
  return { upstream, app, tokenFile, refreshed };
}

test('a refresh costs one HEAD within the lifetime of the tag, and says whether the tag has moved', async () => {
  const { upstream, app, refreshed } = await pulled();
  const same = { hasMoved: false, previousDigest: one.manifest.digest, digest: one.manifest.digest };
  expect((await refreshed({ repository, tag: '1' })).body).toMatchObject(same);
  upstream.content.add('library/app', '1', two);
  expect((await ask(app, path)).cache).toBe('hit');
  const moved = { hasMoved: true, previousDigest: one.manifest.digest, digest: two.manifest.digest };
  expect((await refreshed({ repository, tag: '1' })).body).toMatchObject(moved);
  expect(upstream.requests.map(({ method }) => method)).toEqual(['HEAD', 'HEAD']);
  expect((await ask(app, path)).body.equals(two.manifest.bytes)).toBe(true);
});

test('two refreshes and a client at the same time cause one HEAD', async () => {
  const { upstream, app, refreshed } = await pulled();
  app.clock.advance(3_600_000);
  const answering = gate();
  upstream.script({ method: 'HEAD' }, { holdHeaders: answering });
  const asked = [refreshed({ repository, tag: '1' })];
  await upstream.arrived('HEAD', /./);
  asked.push(refreshed({ repository, tag: '1' }));
  const client = ask(app, path);
  await caughtUp(app);
  answering.open();
  for (const { body } of await Promise.all(asked)) expect(body).toMatchObject({ hasMoved: false });
  expect((await client).status).toBe(200);
  expect(upstream.requests.map(({ method }) => method)).toEqual(['HEAD']);
});

test('while the upstream is down a refresh says why, and the cached image is kept', async () => {
  const { upstream, app, refreshed } = await pulled();
  await upstream.stop();
  const answer = await refreshed({ repository, tag: '1' });
  expect(answer).toMatchObject({
    status: 503,
    body: { type: '/problems/upstream-unavailable', reason: 'connect', digest: one.manifest.digest },
  });
  expect((await ask(app, path)).body.equals(one.manifest.bytes)).toBe(true);
});

test('a tag that is not cached is not found, and the upstream is not asked', async () => {
  const { upstream, refreshed } = await pulled();
  for (const body of [
    { repository, tag: '2' },
    { repository: 'docker.io/library/none', tag: '1' },
    { repository: 'none.test/app', tag: '1' },
  ])
    expect(await refreshed(body)).toMatchObject({ status: 404, body: { type: '/problems/not-found' } });
  expect(upstream.requests).toEqual([]);
  expect(await refreshed({ repository })).toMatchObject({ status: 400 });
});

test('a tag that the upstream has no more is kept or forgotten, as the configuration says', async () => {
  for (const deletedUpstream of ['serve', 'deny']) {
    const { upstream, refreshed } = await pulled({ freshness: { deletedUpstream } });
    upstream.script({ path: /manifests/ }, { status: 404 });
    const kept = deletedUpstream === 'serve' ? { reason: 'gone', digest: one.manifest.digest } : {};
    expect(await refreshed({ repository, tag: '1' })).toMatchObject({ status: 404, body: kept });
    const again = deletedUpstream === 'serve' ? 'is kept' : 'is not cached';
    expect((await refreshed({ repository, tag: '1' })).body['detail']).toContain(again);
  }
});

test('the command prints whether the tag has moved', async () => {
  const { upstream, app, tokenFile } = await pulled();
  const by = async (image: string) => {
    const printed = { out: '', error: '' };
    const code = await refresh({
      file: '/nowhere',
      env: {},
      server: app.managementUrl,
      tokenFile,
      image,
      json: false,
      print: (text) => (printed.out += text),
      printError: (text) => (printed.error += text),
    });
    return { code, ...printed };
  };
  expect(await by(`${repository}:1`)).toMatchObject({ code: 0, out: expect.stringContaining('has not moved') });
  upstream.content.add('library/app', '1', two);
  expect((await by(`${repository}:1`)).out).toContain(`from ${one.manifest.digest} to ${two.manifest.digest}`);
  expect(await by(repository)).toMatchObject({ code: 1, error: expect.stringContaining('by tag') });
  expect(await by(`${repository}:2`)).toMatchObject({ code: 1, error: expect.stringContaining('not cached') });
});
