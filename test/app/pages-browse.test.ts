import { expect, test } from 'vitest';
import { askApi } from '../support/api-answers.ts';
import { ask } from '../support/client.ts';
import { image, multiPlatformImage, referrerOf } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { startPages, startPagesWithImages } from '../support/start-pages.ts';
import { formTokenIn, Visitor } from '../support/visitor.ts';

test('repositories and tags are found by their names, sorted, and page after page, without JavaScript', async () => {
  const { visitor } = await startPagesWithImages();
  const all = await visitor.get('/browse?sort=name&registry=&text=&platform=&unused=');
  expect(all.text).toMatch(/docker\.io\/library\/app".*docker\.io\/library\/nginx"/s);
  expect((await visitor.get('/browse?text=NGINX')).text).not.toContain('/library/app"');
  const tags = await visitor.get('/browse?list=tags&text=nginx&sort=name');
  expect(tags.text.match(/library\/nginx:[\w.]+(?=")/g)).toEqual(
    ['1.0', '2.0', 'latest'].map((tag) => `library/nginx:${tag}`),
  );
  expect(tags.text).toMatch(/<option value="name" selected>/);
  expect((await visitor.get('/browse?registry=quay.io')).text).toContain('Nothing fits');
  for (const query of ['sort=upwards', 'cursor=x', `text=${'x'.repeat(301)}`, 'platform=%3Cscript%3E']) {
    const invalid = await visitor.get(`/browse?${query}`);
    expect(invalid.status).toBe(400);
    expect(invalid.text).not.toContain('<script>');
  }
});

test('a repository has its tags, and an image the commands that pull it', async () => {
  const { app, visitor } = await startPagesWithImages();
  const repository = await visitor.get('/browse/docker.io/library/nginx?sort=name');
  expect(repository.text).toMatch(/<bdi>1\.0<\/bdi>.*<bdi>2\.0<\/bdi>.*<bdi>latest<\/bdi>/s);
  const { text } = await visitor.get('/browse/docker.io/library/nginx:1.0');
  expect(text).toContain(`docker pull 127.0.0.1:${new URL(app.url).port}/docker.io/library/nginx:1.0`);
  expect(text).toMatch(/<nav aria-label="Breadcrumb".*href="\/browse\/docker\.io\/library\/nginx"/s);
  for (const path of ['docker.io/library/none', 'docker.io/UPPER', '%E0%A4', '%3Cscript%3E/x', 'docker.io/a:b:c']) {
    const unknown = await visitor.get(`/browse/${path}`);
    expect(unknown.status).toBe(404);
    expect(unknown.text).not.toContain('<script>');
  }
});

test('a tag is purged after a confirmation that says what goes, and nothing happens before', async () => {
  const { app, visitor } = await startPagesWithImages();
  const confirmation = await visitor.get('/confirm/purge?image=docker.io%2Flibrary%2Fnginx%3A1.0');
  expect(confirmation.text).toMatch(/This removes <strong>1 tag, 1 manifest, 2 blobs/);
  const before = await app.metrics();
  expect(before.sum('layerwell_cache_evictions_total')).toBe(0);
  const form = formTokenIn(confirmation);
  const done = await visitor.post('/actions/purge', { form, image: 'docker.io/library/nginx:1.0' });
  expect(done).toMatchObject({ status: 303, headers: { location: '/browse/docker.io/library/nginx' } });
  const after = await visitor.get('/browse/docker.io/library/nginx');
  expect(after.text).toMatch(/role="status">docker\.io\/library\/nginx:1\.0 is purged: 1 tag, 1 manifest/);
  expect(after.text).not.toContain('<bdi>1.0</bdi>');
  expect((await visitor.get('/browse/docker.io/library/nginx')).text).not.toContain('role="status"');
  expect(await visitor.post('/actions/purge', { form, image: 'docker.io/library/nginx:1.0' })).toMatchObject({
    status: 404,
  });
});

test('a tag that has moved is refreshed after a confirmation', async () => {
  const { hub, visitor } = await startPagesWithImages();
  const form = formTokenIn(await visitor.get('/confirm/refresh?image=docker.io%2Flibrary%2Fnginx%3Alatest'));
  const refresh = async () => {
    const { headers } = await visitor.post('/actions/refresh', { form, image: 'docker.io/library/nginx:latest' });
    return (await visitor.get(headers.location ?? '')).text;
  };
  expect(await refresh()).toContain('nginx:latest has not moved.');
  hub.content.add('library/nginx', 'latest', image({ name: 'newer' }));
  expect(await refresh()).toMatch(/nginx:latest has moved to sha256:/);
});

test('who is not signed in is asked for the token before a confirmation, and a form of another site purges nothing', async () => {
  const { app, visitor } = await startPagesWithImages();
  const signedOut = new Visitor(visitor.url);
  const path = '/confirm/purge?image=docker.io%2Flibrary%2Fnginx%3A1.0';
  const asked = await signedOut.get(path);
  expect(asked).toMatchObject({ status: 303, headers: { location: `/login?next=${encodeURIComponent(path)}` } });
  const image = 'docker.io/library/nginx:1.0';
  expect((await signedOut.post('/actions/purge', { image })).status).toBe(303);
  expect((await visitor.post('/actions/purge', { image })).status).toBe(403);
  const form = formTokenIn(await visitor.get(path));
  const evil = { origin: 'http://evil.test', 'sec-fetch-site': 'cross-site' };
  expect((await visitor.post('/actions/purge', { form, image }, evil)).status).toBe(403);
  expect((await visitor.get(`/actions/purge?image=${image}&form=${form}`)).status).toBe(404);
  expect((await app.metrics()).sum('layerwell_cache_evictions_total')).toBe(0);
});

test('names of 250 characters stay whole and harmless', async () => {
  const { app, hub, visitor } = await startPages();
  const [repository, tag] = [`acme/${'x'.repeat(240)}`, 't'.repeat(128)];
  hub.content.add(repository, tag, image());
  await pullAll(app, repository, tag);
  await app.quiet();
  expect((await visitor.get('/browse')).text).toContain(`<bdi>${repository}</bdi>`);
  expect((await visitor.get(`/browse/docker.io/${repository}:${tag}`)).status).toBe(200);
});

test('an image has its platforms, layers and referrers, what it says of itself stays text, and one that is not cached is not found', async () => {
  const { app, hub, visitor } = await startPagesWithImages();
  const built = multiPlatformImage();
  const [amd64] = built.children;
  hub.content.add('library/multi', '1', built, amd64 ? [referrerOf(built.manifest)] : []);
  await pullAll(app, 'library/multi', '1');
  await ask(app, `/v2/library/multi/referrers/${built.manifest.digest}`);
  await app.quiet();
  const { text } = await visitor.get('/browse/docker.io/library/multi:1?platform=linux/arm64');
  expect(text).toContain(built.manifest.digest);
  expect(text).toMatch(/href="\/browse\/docker\.io\/library\/multi:1\?platform=linux%2Farm64" aria-current="true"/);
  expect(text).toMatch(/Layers for linux\/arm64.*<table>/s);
  expect(text).toContain('href="/confirm/warm?image=docker.io%2Flibrary%2Fmulti%3A1"');
  expect(text).toMatch(/Signatures, SBOMs.*signature/s);
  for (const name of ['docker.io/library/multi:2', `docker.io/library/multi@sha256:${'0'.repeat(64)}`]) {
    expect((await visitor.get(`/browse/${name}`)).status).toBe(404);
  }
});

test('an image is warmed after a confirmation, and the overview tells of it', async () => {
  const { hub, visitor } = await startPagesWithImages();
  hub.content.add('library/nginx', 'next', image({ name: 'next' }));
  const confirmation = await visitor.get('/confirm/warm?image=docker.io%2Flibrary%2Fnginx%3Anext');
  expect(confirmation.text).toMatch(/<select id="platform" name="platform">/);
  const fields = { form: formTokenIn(confirmation), image: 'docker.io/library/nginx:next', platform: 'all' };
  expect((await visitor.post('/actions/warm', { ...fields, platform: 'x' })).status).toBe(400);
  expect((await visitor.post('/actions/warm', fields)).status).toBe(303);
  await expect.poll(async () => (await visitor.get('/')).text).toMatch(/warm <span class="note">.*pill good">done/s);
  expect((await visitor.get('/browse/docker.io/library/nginx:next')).status).toBe(200);
});

test('an image is pinned and unpinned after a confirmation', async () => {
  const at = await startPagesWithImages();
  const { visitor } = at;
  const image = 'docker.io/library/nginx:1.0';
  const form = formTokenIn(await visitor.get(`/confirm/pin?image=${encodeURIComponent(image)}`));
  expect((await visitor.post('/actions/pin', { form, image })).status).toBe(303);
  const pins = async () => Object((await askApi(at, '/api/v1/pins')).body)['items'];
  expect(await pins()).toMatchObject([{ pin: image }]);
  expect((await visitor.get(`/browse/${image}`)).text).toMatch(/nginx:1\.0 is pinned\..*>Unpin…</s);
  expect((await visitor.post('/actions/unpin', { form, image })).status).toBe(303);
  expect(await pins()).toEqual([]);
  expect((await visitor.post('/actions/unpin', { form, image })).status).toBe(404);
});
