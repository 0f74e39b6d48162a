import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { purgeByGlob } from '../../src/commands/content/purge-by-glob.ts';
import { askApi } from '../support/api-answers.ts';
import { imageOver, layer } from '../support/bounded-store.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import type { Image } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { startApp } from '../support/start-app.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

const token = 'a'.repeat(40);
const headers = { 'content-type': 'application/json' };
const [base, one, two] = [layer('base', 1000), layer('one', 1000), layer('two', 1000)];

async function start() {
  const hub = await startFakeRegistry();
  const tokenFile = join(await temporaryDirectory(), 'token');
  await writeFile(tokenFile, token);
  const management = { host: '127.0.0.1', port: 0, tokenFile };
  const app = await startApp({ upstreams: { 'docker.io': { url: hub.url } }, management });
  const byGlob = (body: object) =>
    askApi(app, '/api/v1/purge/by-glob', { method: 'POST', token, headers, body: JSON.stringify(body) });
  const stored = async () => {
    const { storage } = Object((await askApi(app, '/api/v1/stats')).body);
    return { manifests: storage.manifests, blobs: storage.blobs };
  };
  const publishAndPull = async (repository: string, tag: string, built: Image) => {
    hub.content.add(repository, tag, built);
    await pullAll(app, repository, tag);
    await app.quiet();
  };
  return { app, tokenFile, byGlob, stored, publishAndPull };
}

test('a glob over repositories purges these; its dry run counts content of two of them once', async () => {
  const { byGlob, stored, publishAndPull } = await start();
  await publishAndPull('library/a', '1', imageOver('same', base, one));
  await publishAndPull('library/b', '1', imageOver('same', base, one));
  await publishAndPull('library/c', '1', imageOver('c', base, two));
  await publishAndPull('acme/d', '1', imageOver('d', two));
  expect(await stored()).toEqual({ manifests: 3, blobs: 6 });

  const glob = 'docker.io/library/*';
  const dry = await byGlob({ glob, dryRun: true });
  expect(dry.body).toMatchObject({ repositories: 3, removed: { tags: 3, manifests: 2, blobs: 4 }, refused: 0 });
  expect(dry.body['items']).toMatchObject([
    { repository: 'docker.io/library/a', removed: { tags: 1, manifests: 0, blobs: 0, bytes: 0 } },
    { repository: 'docker.io/library/b', removed: { tags: 1, manifests: 1, blobs: 2 } },
    { repository: 'docker.io/library/c', removed: { tags: 1, manifests: 1, blobs: 2 } },
  ]);
  expect(await stored()).toEqual({ manifests: 3, blobs: 6 });
  expect((await byGlob({ glob })).body).toEqual({ ...dry.body, dryRun: false });
  expect(await stored()).toEqual({ manifests: 1, blobs: 2 });
  expect((await byGlob({ glob })).body).toMatchObject({ repositories: 0, items: [] });
});

test('a glob over tags purges only these tags, with what only they need', async () => {
  const { byGlob, stored, publishAndPull } = await start();
  await publishAndPull('acme/x/nightly', '1-dev', imageOver('1', base, one));
  await publishAndPull('acme/x/nightly', '2-dev', imageOver('2', base, two));
  await publishAndPull('acme/x/nightly', '2', imageOver('2', base, two));
  await publishAndPull('acme/weekly', '1-dev', imageOver('w', base));
  const glob = 'docker.io/**/nightly:*-dev';
  const dry = await byGlob({ glob, dryRun: true });
  expect(dry.body).toMatchObject({ repositories: 1, removed: { tags: 2, manifests: 1, blobs: 2 } });
  expect((await byGlob({ glob })).body).toEqual({ ...dry.body, dryRun: false });
  expect(await stored()).toEqual({ manifests: 2, blobs: 4 });
});

test('what is no glob is invalid', async () => {
  const { byGlob } = await start();
  for (const body of [
    {},
    { glob: '' },
    { glob: 'A B' },
    { glob: '*'.repeat(9).split('').join('a') },
    { glob: 'a:b c' },
  ])
    expect(await byGlob(body)).toMatchObject({ status: 400, body: { type: '/problems/invalid-request' } });
});

test('the command shows what would go and asks first; without a terminal it needs --yes', async () => {
  const { app, tokenFile, stored, publishAndPull } = await start();
  await publishAndPull('library/a', '1', imageOver('a', base));
  const by = async (options: Partial<Parameters<typeof purgeByGlob>[0]>) => {
    const printed = { out: '', error: '' };
    const code = await purgeByGlob({
      file: '/nowhere',
      env: {},
      server: app.managementUrl,
      tokenFile,
      glob: 'docker.io/**',
      dryRun: false,
      yes: false,
      json: false,
      confirm: undefined,
      print: (text) => (printed.out += text),
      printError: (text) => (printed.error += text),
      ...options,
    });
    return { code, ...printed };
  };
  expect(await by({})).toMatchObject({ code: 1, error: expect.stringContaining('--yes') });
  expect((await by({ dryRun: true })).out).toMatch(/^WOULD BE PURGED +TAGS.*\ndocker.io\/library\/a +1 +1 +2 .*\nall /);
  const declined = await by({ confirm: async () => false });
  expect(declined).toMatchObject({
    code: 1,
    out: '',
    error: expect.stringMatching(/docker.io\/library\/a[^]*nothing was/),
  });
  expect(await stored()).toEqual({ manifests: 1, blobs: 2 });
  expect(await by({ confirm: async () => true })).toMatchObject({ code: 0, out: expect.stringContaining('PURGED') });
  expect(await stored()).toEqual({ manifests: 0, blobs: 0 });
  expect(await by({ yes: true })).toMatchObject({ code: 0, out: 'nothing of this is cached\n' });
});
