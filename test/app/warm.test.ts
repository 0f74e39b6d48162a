import { expect, test } from 'vitest';
import { askApi } from '../support/api-answers.ts';
import { imageOver, layer } from '../support/bounded-store.ts';
import { gate } from '../support/gate.ts';
import { image, multiPlatformImage, randomBlob, referrerOf } from '../support/images.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { pullAll, pullBlob } from '../support/pull.ts';
import { endOf, idOf, startWithJobs } from '../support/start-jobs.ts';

const one = { images: ['nginx:1'] };
const blobs = /\/blobs\//;
const mebibyte = 1024 * 1024;

test('a warmed image is served without asking the upstream; warming it again, also after a restart, fetches nothing', async () => {
  const { hub, app, done } = await startWithJobs();
  const built = imageOver('1', layer('one', 1000), layer('two', 2000));
  hub.content.add('library/nginx', '1', built);
  const bytes = built.blobs.reduce((sum, blob) => sum + blob.bytes.length, 0);

  expect(await done('warm', one)).toEqual({
    id: expect.any(String),
    kind: 'warm',
    state: 'done',
    startedAt: '2030-01-01T00:00:00.000Z',
    endedAt: '2030-01-01T00:00:00.000Z',
    done: 1,
    total: 1,
    bytes,
    problems: 0,
    problemList: [],
    images: [
      {
        image: 'docker.io/library/nginx:1',
        state: 'done',
        digest: built.manifest.digest,
        fetched: { manifests: 1, blobs: 3, bytes },
        present: { manifests: 0, blobs: 0, bytes: 0 },
      },
    ],
  });

  hub.forgetRequests();
  const { parts } = await pullAll(app, 'library/nginx', '1');
  expect([...parts.values()].map(({ cache }) => cache.slice(0, 3))).toEqual(['hit', 'hit', 'hit', 'hit']);
  const again = { fetched: { manifests: 0, blobs: 0 }, present: { manifests: 1, blobs: 3, bytes } };
  expect(await done('warm', one)).toMatchObject({ bytes: 0, images: [again] });
  await app.restart();
  expect(await done('warm', one)).toMatchObject({ images: [again] });
  expect(hub.count('GET')).toBe(0);
});

test('of an image index only the wanted platforms are fetched, and those that are missing are told', async () => {
  const { hub, done } = await startWithJobs();
  const built = multiPlatformImage();
  hub.content.add('acme/app', '1', built);
  const job = await done('warm', { images: ['acme/app:1'], platforms: ['linux/arm64', 'linux/s390x'] });
  expect(job).toMatchObject({ images: [{ state: 'done', fetched: { manifests: 2, blobs: 2 } }] });
  expect(job['problemList']).toMatchObject([
    { image: 'docker.io/acme/app:1', subject: 'linux/s390x', reason: 'no-platform' },
  ]);
  const fetches = built.children.map(({ digest }) => hub.count('GET', new RegExp(digest)));
  expect(fetches).toEqual([0, 1]);
  expect(await done('warm', { images: ['acme/app:1'], platforms: ['all'] })).toMatchObject({
    images: [{ fetched: { manifests: 1, blobs: 2 }, present: { manifests: 2, blobs: 2 } }],
  });
  expect(await done('warm', { images: ['acme/app:1'], platforms: ['windows/amd64'] })).toMatchObject({
    images: [{ state: 'failed' }],
    problemList: [{ subject: 'windows/amd64', reason: 'not-found' }],
  });
});

test('signatures and the like are fetched only if they are wanted', async () => {
  const { hub, app, done } = await startWithJobs();
  const built = image();
  const signature = referrerOf(built.manifest);
  hub.content.add('library/nginx', '1', built, [signature]);
  expect(await done('warm', one)).toMatchObject({ images: [{ fetched: { manifests: 1, blobs: 2 } }] });
  expect(hub.count('GET', /\/referrers\//)).toBe(0);
  expect(await done('warm', { ...one, referrers: true })).toMatchObject({
    problems: 0,
    images: [{ state: 'done', fetched: { manifests: 1, blobs: 2 }, present: { manifests: 1, blobs: 2 } }],
  });
  hub.forgetRequests();
  await pullAll(app, 'library/nginx', signature.manifest.digest);
  expect(hub.count('GET')).toBe(0);
});

test('a job that is cancelled in the middle of a blob keeps what has arrived, and the next one goes on from there', async () => {
  // Files have the time of the machine: those of long ago would be removed.
  const { hub, app, begin, done, cancel } = await startWithJobs({ clock: new ManualClock(Date.now()) });
  const large = randomBlob(16 * mebibyte);
  hub.content.add('library/nginx', '1', imageOver('1', large));
  const arriving = { path: new RegExp(large.digest), times: 1 };
  hub.script(arriving, { holdBody: { afterBytes: 12 * mebibyte, until: gate() } });
  const id = idOf(await begin('warm', one));
  await expect
    .poll(async () => Number((await askApi(app, `/api/v1/jobs/${id}`)).body['bytes']))
    .toBeGreaterThan(12 * mebibyte);

  expect((await cancel(id)).body).toMatchObject({ state: 'cancelled', images: [{ state: 'cancelled' }], problems: 0 });
  expect((await cancel(id)).body).toMatchObject({ state: 'cancelled' });
  await app.restart();

  expect(await done('warm', one)).toMatchObject({ state: 'done', images: [{ state: 'done' }] });
  expect(hub.seen('GET', arriving.path).at(-1)?.headers.range).toBe(`bytes=${12 * mebibyte - 1}-`);
});

test('when the mirror stops its jobs end; another process does not know them', async () => {
  const { hub, app, begin } = await startWithJobs();
  hub.content.add('library/nginx', '1', image());
  hub.script({ path: blobs }, { holdHeaders: gate() });
  const id = idOf(await begin('warm', one));
  await hub.arrived('GET', blobs);
  await app.restart();
  expect(await askApi(app, `/api/v1/jobs/${id}`)).toMatchObject({ status: 404, body: { type: '/problems/not-found' } });
  expect((await askApi(app, '/api/v1/jobs')).body).toEqual({ items: [] });
});

test('a client and two jobs that want one image cause one download of each blob', async () => {
  const { hub, app, begin } = await startWithJobs();
  const built = image({ layers: 3 });
  hub.content.add('library/nginx', '1', built);
  const rest = gate();
  hub.script({ path: blobs }, { holdHeaders: rest });
  const ids = await Promise.all([begin('warm', one), begin('warm', one)]);
  await hub.arrived('GET', blobs, 4);
  const pulled = pullAll(app, 'library/nginx', '1');
  rest.open();
  await pulled;
  for (const id of ids) expect(await endOf(app, idOf(id))).toMatchObject({ images: [{ state: 'done' }], problems: 0 });
  expect(hub.count('GET', blobs)).toBe(4);
});

test('a job leaves most downloads to clients: one is served at once while the blobs of jobs do not arrive', async () => {
  const { hub, app, begin, cancel } = await startWithJobs({ config: { download: { maxConcurrent: 4 } } });
  hub.content.add('library/nginx', '1', image({ layers: 20 }));
  const other = image({ name: 'other' });
  hub.content.add('library/other', '1', other);
  hub.script({ path: /nginx\/blobs/ }, { holdHeaders: gate() });
  const ids = [idOf(await begin('warm', one)), idOf(await begin('warm', one))];
  await hub.arrived('GET', /nginx\/blobs/);
  await pullAll(app, 'library/other', '1');
  expect(hub.count('GET', /nginx\/blobs/)).toBe(1);
  // The second waits for a turn that the first has.
  for (const id of ids.toReversed()) expect((await cancel(id)).body).toMatchObject({ state: 'cancelled' });
});

test('eight jobs run; a ninth is to come again, and a hundred are remembered', async () => {
  const { hub, app, begin, cancel } = await startWithJobs();
  hub.content.add('library/nginx', '1', image());
  hub.script({ path: /manifests/ }, { holdHeaders: gate() });
  const ids = [];
  for (let nth = 0; nth < 8; nth += 1) ids.push(idOf(await begin('warm', one)));
  const ninth = await begin('warm', one);
  expect(ninth).toMatchObject({ status: 503, body: { type: '/problems/unavailable' } });
  expect(ninth.headers['retry-after']).toBe('5');
  const { items } = Object((await askApi(app, '/api/v1/jobs')).body);
  expect(items).toHaveLength(8);
  expect(items[0]).toMatchObject({ id: ids[7], kind: 'warm', state: 'running', done: 0, total: 1 });
  expect(await Promise.all(ids.map(async (id) => (await cancel(id)).body['state']))).toEqual(
    Array(8).fill('cancelled'),
  );
});

test('what is no order is refused, and without the token nothing is begun or cancelled', async () => {
  const { app, begin } = await startWithJobs();
  for (const body of [
    {},
    { images: [] },
    { images: ['Nginx'] },
    { images: ['nginx@sha256:abc'] },
    { images: Array(251).fill('nginx') },
    { images: ['nginx'], platforms: ['linux'] },
    { images: ['nginx'], platforms: [] },
    { images: ['nginx'], platforms: ['any'] },
    { images: ['nginx'], all: true },
  ])
    expect(await begin('warm', body)).toMatchObject({ status: 400, body: { type: '/problems/invalid-request' } });
  const question = { headers: { 'content-type': 'application/json' }, body: JSON.stringify(one) };
  expect((await askApi(app, '/api/v1/warm', { method: 'POST', ...question })).status).toBe(401);
  expect((await askApi(app, '/api/v1/jobs/x', { method: 'DELETE' })).status).toBe(401);
  expect((await askApi(app, '/api/v1/jobs')).body).toEqual({ items: [] });
});

test('a layer that a manifest names twice, or that is stored through another repository, is not downloaded again', async () => {
  const { hub, app, done } = await startWithJobs();
  const shared = layer('shared', 1000);
  hub.content.add('library/nginx', '1', imageOver('1', shared, shared));
  hub.content.add('library/other', '1', imageOver('2', shared));
  expect(await done('warm', one)).toMatchObject({ problems: 0 });
  expect(await done('warm', { images: ['other:1'] })).toMatchObject({
    problems: 0,
    images: [{ present: { blobs: 1 } }],
  });
  expect(hub.count('GET', new RegExp(shared.digest))).toBe(1);
  expect((await pullBlob(app, 'library/other', shared.digest)).cache).toMatch(/^hit/);
});
