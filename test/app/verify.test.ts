import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Digest } from '../../src/oci/digest.ts';
import { blobPath } from '../../src/storage/layout.ts';
import { askApi } from '../support/api-answers.ts';
import { imageOver, layer } from '../support/bounded-store.ts';
import { gate } from '../support/gate.ts';
import { multiPlatformImage } from '../support/images.ts';
import { pullAll, pullBlob } from '../support/pull.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { idOf, startWithJobs, type WithJobs, type WithJobsOptions } from '../support/start-jobs.ts';

const [one, two] = [layer('one', 100_000), layer('two', 50_000)];
const built = imageOver('1', one, two);
const nginx = 'library/nginx';
const repository = `docker.io/${nginx}`;
const storedBytes = [built.manifest, ...built.blobs].reduce((sum, { bytes }) => sum + bytes.length, 0);

/** A mirror that has one image: a manifest and three blobs. */
async function pulled(options: WithJobsOptions = {}): Promise<WithJobs> {
  const mirror = await startWithJobs(options);
  mirror.hub.content.add(nginx, '1', built);
  await pullAll(mirror.app, nginx, '1');
  await mirror.app.quiet();
  mirror.hub.forgetRequests();
  return mirror;
}

const fileOf = ({ app }: WithJobs, digest: Digest) => join(app.dataDirectory, blobPath(digest));

async function damage(mirror: WithJobs, digest: Digest): Promise<void> {
  await using file = await open(fileOf(mirror, digest), 'r+');
  await file.write(Buffer.from('X'), 0, 1, 5);
}

test('a store that is intact is read as a whole, and nothing is told', async () => {
  const mirror = await pulled();
  expect(await mirror.done('verify', {})).toMatchObject({
    kind: 'verify',
    state: 'done',
    done: 4,
    total: 4,
    bytes: storedBytes,
    problems: 0,
    verified: { damaged: 0, missing: 0, unreadable: 0, refetched: 0 },
    problemList: [],
  });
  const metrics = await mirror.app.metrics();
  expect(metrics.sum('layerwell_scrub_bytes_total')).toBe(storedBytes);
  expect(mirror.hub.count()).toBe(0);
});

test('what is damaged is put into quarantine, what is missing is told, and neither is fetched unless that is wanted', async () => {
  const mirror = await pulled();
  await damage(mirror, one.digest);
  await rm(fileOf(mirror, two.digest));
  const job = await mirror.done('verify', {});
  expect(job).toMatchObject({
    state: 'done',
    done: 4,
    verified: { damaged: 1, missing: 1, refetched: 0 },
    problems: 2,
  });
  expect(job['problemList']).toMatchObject([
    { subject: one.digest, reason: 'damaged' },
    { subject: two.digest, reason: 'missing' },
  ]);
  const metrics = await mirror.app.metrics();
  expect(metrics.sum('layerwell_cache_corruptions_total')).toBe(1);
  expect(Object((await askApi(mirror.app, '/api/v1/stats')).body).storage.quarantinedFiles).toBe(1);
  expect(mirror.hub.count()).toBe(0);
  expect(await mirror.done('verify', {})).toMatchObject({ verified: { damaged: 0, missing: 2 } });
});

test('with refetch, what was damaged or missing is whole again', async () => {
  const mirror = await pulled();
  await damage(mirror, one.digest);
  await rm(fileOf(mirror, two.digest));
  await damage(mirror, built.manifest.digest);
  const verified = { damaged: 2, missing: 1, unreadable: 0, refetched: 3 };
  expect(await mirror.done('verify', { refetch: true })).toMatchObject({ state: 'done', verified, problems: 3 });
  expect(mirror.hub.count('GET', /\/blobs\//)).toBe(2);
  mirror.hub.forgetRequests();
  expect(await mirror.done('verify', {})).toMatchObject({ done: 4, problems: 0 });
  await mirror.app.restart();
  await pullAll(mirror.app, nginx, '1');
  expect(mirror.hub.count('GET')).toBe(0);
});

test('a missing manifest that is no longer in memory is fetched again', async () => {
  const mirror = await pulled();
  await mirror.app.restart();
  await rm(fileOf(mirror, built.manifest.digest));
  expect(await mirror.done('verify', { refetch: true })).toMatchObject({ verified: { missing: 1, refetched: 1 } });
  expect(mirror.hub.count('GET', /\/manifests\//)).toBe(1);
});

test('what cannot be fetched again is told, and the rest is', async () => {
  const mirror = await pulled();
  for (const { digest } of [one, two]) await damage(mirror, digest);
  mirror.hub.script({ path: new RegExp(one.digest) }, { status: 404 });
  const job = await mirror.done('verify', { refetch: true });
  expect(job).toMatchObject({ state: 'done', verified: { damaged: 2, refetched: 1 }, problems: 3 });
  expect(Object(job).problemList[2]).toMatchObject({
    subject: one.digest,
    reason: 'not-refetched',
    detail: expect.stringContaining(repository),
  });
});

test('only a repository, a tag or a digest is verified if it is named', async () => {
  const mirror = await pulled();
  const other = multiPlatformImage();
  mirror.hub.content.add('acme/app', '1', other);
  await pullAll(mirror.app, 'acme/app', '1');
  await mirror.app.quiet();
  await damage(mirror, one.digest);
  const app = 'docker.io/acme/app';
  const verified = { damaged: 0, missing: 0 };
  expect(await mirror.done('verify', { repository: app })).toMatchObject({ done: 7, total: null, verified });
  expect(await mirror.done('verify', { repository: app, tag: '1' })).toMatchObject({ done: 7, verified });
  const [platform] = other.children;
  expect(await mirror.done('verify', { repository: app, digest: platform?.digest })).toMatchObject({
    done: 3,
    verified,
  });
  expect(await mirror.done('verify', { repository, tag: '1' })).toMatchObject({ done: 4, verified: { damaged: 1 } });
});

test('what is not cached is not found, and what cannot be meant is refused', async () => {
  const mirror = await pulled();
  for (const body of [
    { repository: 'docker.io/acme/none' },
    { repository, tag: '2' },
    { repository, digest: layer('unknown', 10).digest },
    { repository: 'docker.io/acme/none', digest: one.digest },
  ])
    expect(await mirror.begin('verify', body)).toMatchObject({ status: 404, body: { type: '/problems/not-found' } });
  for (const body of [
    { repository: 'nginx' },
    { tag: '1' },
    { digest: one.digest },
    { repository, tag: '1', digest: one.digest },
    { bytesPerSecond: 0 },
    { refetch: 'yes' },
  ])
    expect(await mirror.begin('verify', body)).toMatchObject({ status: 400 });
});

test('two verifications never run at the same time, and one that runs can be cancelled', async () => {
  const files = new ScriptedFiles();
  const mirror = await pulled({ files });
  const [reached, rest] = [gate(), gate()];
  files.before = async ({ operation, path }) => {
    if (operation !== 'read' || !path.includes('blobs/')) return;
    reached.open();
    await rest.opened;
  };
  const id = idOf(await mirror.begin('verify', {}));
  await reached.opened;
  const second = await mirror.begin('verify', { repository });
  expect(second).toMatchObject({ status: 409, body: { type: '/problems/already-runs', job: id } });
  const cancelled = mirror.cancel(id);
  rest.open();
  expect((await cancelled).body).toMatchObject({ state: 'cancelled' });
  expect(await mirror.done('verify', {})).toMatchObject({ state: 'done', problems: 0 });
});

test('a verification at a rate leaves the disk to others, and stops at once with the mirror', async () => {
  const mirror = await pulled();
  const id = idOf(await mirror.begin('verify', { bytesPerSecond: 1 }));
  await pullBlob(mirror.app, nginx, one.digest);
  expect(Object((await askApi(mirror.app, `/api/v1/jobs/${id}`)).body)).toMatchObject({ state: 'running', done: 0 });
  await mirror.app.stop();
});

test('a file that the disk cannot read is told, and is not put into quarantine', async () => {
  const files = new ScriptedFiles();
  const mirror = await pulled({ files });
  files.failWith = ({ operation, path }) =>
    operation === 'read' && path === fileOf(mirror, one.digest) ? 'EIO' : undefined;
  expect(await mirror.done('verify', { refetch: true })).toMatchObject({
    state: 'done',
    verified: { unreadable: 1, damaged: 0, refetched: 0 },
    problemList: [{ subject: one.digest, reason: 'unreadable' }],
  });
  files.failWith = () => undefined;
  expect(await mirror.done('verify', {})).toMatchObject({ problems: 0 });
});
