import { expect, test } from 'vitest';
import { purge, targetIn } from '../../src/commands/content/purge.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { askApi } from '../support/api-answers.ts';
import { imageOver, layer } from '../support/bounded-store.ts';
import { ask, open } from '../support/client.ts';
import { freePort } from '../support/free-port.ts';
import { gate } from '../support/gate.ts';
import { multiPlatformImage } from '../support/images.ts';
import { pullAll, pullBlob, pullManifest } from '../support/pull.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { headers, nginx, startPurging, stored, token } from '../support/purging.ts';

const repository = `docker.io/${nginx}`;
const hexOf = ({ digest }: { readonly digest: string }) => digest.slice('sha256:'.length);
const [base, one, two] = [layer('base', 1000), layer('one', 1000), layer('two', 1000)];

test('a purged tag is gone with what only it needs; a layer of another tag stays, and the next pull asks the upstream', async () => {
  const { app, publishAndPull, purged } = await startPurging();
  await publishAndPull(nginx, '1', imageOver('1', base, one));
  await publishAndPull(nginx, '2', imageOver('2', base, two));
  expect(await stored(app)).toEqual({ manifests: 2, blobs: 5 });

  const dry = await purged({ repository, tag: '1', dryRun: true });
  expect(dry.body).toMatchObject({ dryRun: true, removed: { tags: 1, manifests: 1, blobs: 2 }, kept: 1, tags: ['1'] });
  expect(await stored(app)).toEqual({ manifests: 2, blobs: 5 });

  const { body } = await purged({ repository, tag: '1' });
  expect(body).toEqual({ ...dry.body, dryRun: false });
  expect(await stored(app)).toEqual({ manifests: 1, blobs: 3 });
  expect((await app.metrics()).sum('layerwell_cache_evictions_total', { reason: 'purge' })).toBe(3);

  expect((await pullManifest(app, nginx, '1')).cache).toContain('fwd=');
  expect((await pullManifest(app, nginx, '2')).cache).toMatch(/^hit/);
  expect((await pullBlob(app, nginx, base.digest)).cache).toMatch(/^hit/);
  await pullAll(app, nginx, '1');
});

test('a manifest that another tag or another repository needs stays', async () => {
  const { app, publishAndPull, purged } = await startPurging();
  const built = imageOver('1', base, one);
  await publishAndPull(nginx, '1', built);
  await publishAndPull(nginx, '1.0', built);
  await publishAndPull('acme/copy', '1', built);
  expect((await purged({ repository, tag: '1' })).body).toMatchObject({ removed: { tags: 1, manifests: 0 }, kept: 1 });
  expect((await purged({ repository })).body).toMatchObject({ removed: { tags: 1, manifests: 0, blobs: 0 }, kept: 4 });
  expect(await stored(app)).toEqual({ manifests: 1, blobs: 3 });
  expect((await pullManifest(app, 'acme/copy', '1')).cache).toMatch(/^hit/);
  const last = await purged({ repository: 'docker.io/acme/copy' });
  expect(last.body).toMatchObject({ removed: { tags: 1, manifests: 1, blobs: 3 }, kept: 0 });
  expect(await stored(app)).toEqual({ manifests: 0, blobs: 0 });
});

test('with an image index its platforms go, and a digest takes its tags along', async () => {
  const { app, publishAndPull, purged } = await startPurging();
  const built = multiPlatformImage();
  await publishAndPull(nginx, '1', built);
  await publishAndPull(nginx, 'latest', built);
  const [platform] = built.children;
  expect((await purged({ repository, digest: platform?.digest })).body).toMatchObject({
    removed: { manifests: 0 },
    kept: 1,
  });
  const { body } = await purged({ repository, digest: built.manifest.digest });
  expect(body).toMatchObject({ removed: { tags: 2, manifests: 3 }, kept: 0 });
  expect(await stored(app)).toEqual({ manifests: 0, blobs: 0 });
  await app.restart();
  expect((await askApi(app, `/api/v1/repositories/${encodeURIComponent(repository)}/tags`)).status).toBe(404);
  await pullAll(app, nginx, 'latest');
});

test('a client that reads a blob while it is purged gets all of it', async () => {
  const { app, publishAndPull, purged } = await startPurging();
  const large = layer('large', 8_000_000);
  await publishAndPull(nginx, '1', imageOver('1', large));
  const reading = await open(app, `/v2/${nginx}/blobs/${large.digest}`);
  const begun = await reading.read(1_000);
  expect((await purged({ repository, tag: '1' })).body).toMatchObject({ removed: { blobs: 2 } });
  const rest = await reading.rest();
  expect(digestOf(Buffer.concat([begun, rest]))).toBe(large.digest);
  expect(await stored(app)).toEqual({ manifests: 0, blobs: 0 });
});

test('purges, pulls and evictions at the same time leave no client with a short blob, and the index as the disk', async () => {
  const { app, publishAndPull, purged } = await startPurging();
  const images = [imageOver('1', base, one), imageOver('2', base, two), imageOver('3', one, two)];
  for (const [number, built] of images.entries()) await publishAndPull(nginx, String(number), built);
  const rounds = Array.from({ length: 12 }, (_, round) => round);
  await Promise.all(
    rounds.flatMap((round) => [
      pullAll(app, nginx, String(round % 3)),
      purged(round % 4 === 0 ? { repository } : { repository, tag: String(round % 3) }),
    ]),
  );
  await app.quiet();
  await expect.poll(() => stored(app).then(() => true)).toBe(true);
  for (const number of images.keys()) await pullAll(app, nginx, String(number));
});

test('a purge that its client leaves in the middle ends by itself', async () => {
  const files = new ScriptedFiles();
  const { app, publishAndPull } = await startPurging(files);
  await publishAndPull(nginx, '1', imageOver('1', base, one));
  const [reached, rest] = [gate(), gate()];
  files.before = async ({ operation, path }) => {
    if (operation !== 'unlink' || !path.includes('blobs/')) return;
    reached.open();
    await rest.opened;
  };
  const leaving = new AbortController();
  const request = { method: 'POST', headers: { ...headers, authorization: `Bearer ${token}` }, signal: leaving.signal };
  const asked = fetch(`${app.managementUrl}/api/v1/purge`, { ...request, body: JSON.stringify({ repository }) });
  await reached.opened;
  leaving.abort();
  await expect(asked).rejects.toThrow('aborted');
  rest.open();
  await expect
    .poll(async () => (await app.metrics()).sum('layerwell_cache_evictions_total', { reason: 'purge' }))
    .toBe(4);
  expect(await stored(app)).toEqual({ manifests: 0, blobs: 0 });
});

test('a mirror that stops in the middle of a purge stops in time', async () => {
  const files = new ScriptedFiles();
  const { app, publishAndPull, purged } = await startPurging(files);
  await publishAndPull(nginx, '1', imageOver('1', base, one));
  const [reached, rest] = [gate(), gate()];
  files.before = async ({ operation, path }) => {
    if (operation !== 'unlink' || !path.includes('blobs/')) return;
    reached.open();
    await rest.opened;
  };
  const purging = purged({ repository }).catch(() => 'cut');
  await reached.opened;
  const stopped = app.stop();
  rest.open();
  await Promise.all([stopped, purging]);
  files.before = async () => {};
  await app.start(app.config);
  expect((await pullAll(app, nginx, '1')).parts.size).toBe(4);
});

test('a purge that the disk refuses in the middle says what is removed and what is not, and the next one ends it', async () => {
  const files = new ScriptedFiles();
  const { app, publishAndPull, purged } = await startPurging(files);
  await publishAndPull(nginx, '1', imageOver('1', base, one));
  await publishAndPull(nginx, '2', imageOver('2', base, two));
  files.failWith = ({ operation, path }) => (operation === 'unlink' && path.includes(hexOf(one)) ? 'EIO' : undefined);
  for (const target of [{ tag: '1' }, {}]) {
    const refused = await purged({ repository, ...target });
    expect(refused).toMatchObject({ status: 503, body: { type: '/problems/unavailable' } });
    expect(refused.body).toMatchObject({
      kept: 'tag' in target ? 1 : 0,
      notRemoved: { tags: [], digests: [one.digest] },
    });
    expect(refused.body['detail']).toMatch(
      /^1 tags and \d contents are removed, 0 tags and 1 contents are not: .*again/,
    );
  }
  expect(await stored(app)).toEqual({ manifests: 0, blobs: 1 });
  files.failWith = () => undefined;
  expect(await purged({ repository, dryRun: true })).toMatchObject({ status: 200, body: { removed: { blobs: 1 } } });
  const [byGlob] = [await purged({ glob: 'docker.io/library/*' }, '/by-glob')];
  expect(byGlob).toMatchObject({ status: 200, body: { repositories: 1, removed: { blobs: 1 }, refused: 0 } });
  expect(await stored(app)).toEqual({ manifests: 0, blobs: 0 });
  expect((await purged({ repository })).status).toBe(404);
});

test('what a refused purge has left may be served after a restart, until each tag and digest that it named is purged', async () => {
  const files = new ScriptedFiles();
  const { app, hub, publishAndPull, purged } = await startPurging(files);
  const built = imageOver('1', base, one);
  await publishAndPull(nginx, '1', built);
  const isOfStore = /\/(_tags|sha256)\//;
  files.failWith = ({ operation, path }) => (operation === 'unlink' && isOfStore.test(path) ? 'EIO' : undefined);
  const refused = await purged({ repository, tag: '1' });
  expect(refused.body['detail']).toMatch(/after a restart, purge each tag and digest that is left/);
  const { tags, digests } = Object(refused.body['notRemoved']);
  expect([tags, digests]).toEqual([['1'], expect.arrayContaining([built.manifest.digest, one.digest, base.digest])]);
  await app.restart();
  await hub.stop();
  const manifest = `/v2/${nginx}/manifests/1`;
  const statuses = () =>
    Promise.all([manifest, `/v2/${nginx}/blobs/${one.digest}`].map(async (path) => (await ask(app, path)).status));
  expect(await statuses()).toEqual([200, 200]);

  files.failWith = () => undefined;
  const left = [...tags.map((tag: string) => ({ tag })), ...digests.map((digest: string) => ({ digest }))];
  for (const each of left) expect([200, 404]).toContain((await purged({ repository, ...each })).status);
  expect(await statuses()).toEqual([503, 503]);
  expect(await stored(app)).toEqual({ manifests: 0, blobs: 0 });
});

test('what is not cached is not found; what cannot be meant is invalid; without the token nothing is purged', async () => {
  const { app, publishAndPull, purged } = await startPurging();
  await publishAndPull(nginx, '1', imageOver('1', base));
  for (const body of [
    { repository, tag: '2' },
    { repository: 'docker.io/library/none' },
    { repository, digest: layer('unknown', 10).digest },
    { repository: 'docker.io/library/other', digest: base.digest },
  ])
    expect(await purged(body)).toMatchObject({ status: 404, body: { type: '/problems/not-found' } });
  for (const body of [
    {},
    { repository: 'nginx' },
    { repository, tag: '-x' },
    { repository, digest: 'sha256:x' },
    { repository, tag: '1', digest: base.digest },
    { repository, all: true },
    { repository, dryRun: 'yes' },
  ])
    expect(await purged(body)).toMatchObject({ status: 400, body: { type: '/problems/invalid-request' } });
  const body = JSON.stringify({ repository });
  const question = { method: 'POST', headers, body };
  expect((await askApi(app, '/api/v1/purge', question)).status).toBe(401);
  expect(await stored(app)).toEqual({ manifests: 1, blobs: 2 });
});

async function purgeBy(options: {
  readonly server: string;
  readonly tokenFile?: string;
  readonly image: string;
  readonly allTags?: boolean;
  readonly dryRun?: boolean;
}) {
  const printed = { out: '', error: '' };
  const code = await purge({
    file: '/nowhere',
    env: {},
    allTags: false,
    dryRun: false,
    json: false,
    ...options,
    print: (text) => (printed.out += text),
    printError: (text) => (printed.error += text),
  });
  return { code, ...printed };
}

test('the command says what it purged, or would; and why it did not', async () => {
  const { app, tokenFile, publishAndPull } = await startPurging();
  await publishAndPull(nginx, '1', imageOver('1', base));
  const at = { server: app.managementUrl, tokenFile };
  const dry = await purgeBy({ ...at, image: `${repository}:1`, dryRun: true });
  expect(dry).toMatchObject({ code: 0, error: '' });
  expect(dry.out).toMatch(/^would be purged +docker\.io\/library\/nginx\ntags +1 \(1\)\nmanifests +1\nblobs +2\n/);
  expect((await purgeBy({ server: at.server, image: `${repository}:1` })).code).toBe(4);
  expect((await purgeBy({ ...at, image: repository })).error).toContain('--all-tags');
  expect(await purgeBy({ ...at, image: repository, allTags: true })).toMatchObject({ code: 0 });
  const again = await purgeBy({ ...at, image: `${repository}:1` });
  expect(again).toMatchObject({ code: 1, error: `${repository}:1 is not cached\n` });
  expect(await purgeBy({ server: `http://127.0.0.1:${await freePort()}`, image: `${repository}:1` })).toMatchObject({
    code: 3,
  });
});

test.each([
  ['docker.io/library/nginx:1', {}, { repository, tag: '1' }],
  [`${repository}@sha256:abc`, {}, { repository, digest: 'sha256:abc' }],
  [`${repository}:1@sha256:abc`, {}, { repository, digest: 'sha256:abc' }],
  ['localhost:5000/app:1', {}, { repository: 'localhost:5000/app', tag: '1' }],
  ['localhost:5000/app', { allTags: true }, { repository: 'localhost:5000/app' }],
  [repository, {}, expect.stringContaining('--all-tags')],
  [`${repository}:1`, { allTags: true }, expect.stringContaining('--all-tags')],
  ['nginx', {}, expect.stringContaining('full name')],
  ['library/nginx:1', {}, expect.stringContaining('full name')],
])('%s names what it says', (image, options, target) => {
  expect(targetIn(image, { allTags: false, ...options })).toEqual(target);
});
