import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { makeCertificateFiles } from '../support/certificate-files.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { type FakeS3, startFakeS3 } from '../support/fake-s3.ts';
import { type Image, image } from '../support/images.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { get, pullAll } from '../support/pull.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

// Anyone who has the URL of a redirect can read the blob, for 15 minutes. So clients are redirected only where anyone may read it anyway.

const hour = 3_600_000;
const day = 24 * hour;
const account = { username: 'mirror', password: 'secret' };
const credentials = [{ kind: 'basic', ...account }];
const service = { credentials, visibility: 'service', allowAnonymous: true };
const checked = { credentials, visibility: 'public' };
const repository = 'team/app';

interface Shared {
  readonly upstream: FakeRegistry;
  readonly s3: FakeS3;
  readonly held: Image;
  /** Repositories that anonymous clients may not read upstream. */
  readonly hides: string[];
}

function replica({ upstream, s3 }: Pick<Shared, 'upstream' | 's3'>, entry: object): Promise<RunningApp> {
  const { bucket, endpoint, pathStyle } = s3.settings;
  const storage = { shared: { bucket, endpoint, pathStyle, redirect: true } };
  const upstreams = { 'docker.io': { url: upstream.url, ...entry } };
  return startAppInMemory(mirrorOf(upstream, { storage, upstreams }), { clock: new ManualClock(Date.now()) });
}

async function uploaded(app: RunningApp): Promise<void> {
  await app.quiet();
  while ((await app.metrics()).sum('layerwell_shared_storage_uploads_queued') > 0);
}

/** A bucket with an image that a replica with the account pulled. */
async function pulledByAnother({ isPrivate }: { isPrivate: boolean }): Promise<Shared> {
  const hides = isPrivate ? [repository] : [];
  const upstream = await startFakeRegistry({ auth: { kind: 'bearer', ...account, privateRepositories: hides } });
  const [s3, held] = [await startFakeS3(), image()];
  upstream.content.add(repository, '1', held);
  const another = await replica({ upstream, s3 }, service);
  await pullAll(another, repository, '1');
  await uploaded(another);
  return { upstream, s3, held, hides };
}

/** The status of a blob that is in the bucket and not here. */
async function statusOfBlob(app: RunningApp, { held }: Shared): Promise<number> {
  await get(app, `/v2/${repository}/manifests/${held.manifest.digest}`).catch(() => {});
  return (await ask(app, `/v2/${repository}/blobs/${held.blobs[0]?.digest}`)).status;
}

test.each([
  { what: 'without an account, what it reads is public', entry: {}, isPrivate: false, status: 307 },
  { what: 'with an account and "service": a private one', entry: service, isPrivate: true, status: 200 },
  { what: 'with an account and "service": a public one, unchecked', entry: service, isPrivate: false, status: 200 },
  {
    what: 'with an account and "service": one of publicRepositories',
    entry: { ...service, publicRepositories: ['team/*'] },
    isPrivate: false,
    status: 307,
  },
  { what: 'with an account and "public": a public one', entry: checked, isPrivate: false, status: 307 },
  { what: 'with an account and "public": a private one', entry: checked, isPrivate: true, status: 404 },
  {
    what: 'with an account and "public": one of publicRepositories',
    entry: { ...checked, publicRepositories: ['team/*'] },
    isPrivate: false,
    status: 307,
  },
  {
    what: 'with an account, "public" and a denied one',
    entry: { ...checked, publicRepositories: ['**'], deny: ['team/*'] },
    isPrivate: false,
    status: 403,
  },
])('a redirect tells nobody more than the upstream would: $what → $status', async ({ entry, isPrivate, status }) => {
  const shared = await pulledByAnother({ isPrivate });
  const app = await replica(shared, entry);
  expect(await statusOfBlob(app, shared)).toBe(status);
});

test('a client certificate is an identity too: what it can read is not redirected', async () => {
  const shared = await pulledByAnother({ isPrivate: false });
  const tls = await makeCertificateFiles(await temporaryDirectory(), 'mirror');
  const app = await replica(shared, { tls, visibility: 'service', allowAnonymous: true });
  expect(await statusOfBlob(app, shared)).toBe(200);
});

test('the account of a mirror of the upstream is an identity too: what it can read is not redirected', async () => {
  const shared = await pulledByAnother({ isPrivate: false });
  const mirrors = [{ url: shared.upstream.url, credentials }];
  const app = await replica(shared, { mirrors, visibility: 'service', allowAnonymous: true });
  expect(await statusOfBlob(app, shared)).toBe(200);
});

test('a verdict whose lifetime is over redirects nobody, though cached content is served by it', async () => {
  const shared = await pulledByAnother({ isPrivate: false });
  const app = await replica(shared, checked);
  expect(await statusOfBlob(app, shared)).toBe(307);
  await shared.upstream.stop();
  app.clock.advance(2 * day);
  // The first request begins a check in the background, which fails.
  for (let asked = 0; asked < 3; asked += 1) expect(await statusOfBlob(app, shared)).toBe(200);
});

test('without a verdict, and with the upstream down, nothing is redirected', async () => {
  const shared = await pulledByAnother({ isPrivate: true });
  await shared.upstream.stop();
  const app = await replica(shared, checked);
  expect(await statusOfBlob(app, shared)).toBe(503);
});

test('a repository that turned private is not redirected after its check', async () => {
  const shared = await pulledByAnother({ isPrivate: false });
  const app = await replica(shared, checked);
  expect(await statusOfBlob(app, shared)).toBe(307);
  shared.hides.push(repository);
  shared.upstream.auth.revokeTokens();
  app.clock.advance(day);
  let status = 0;
  while ((status = await statusOfBlob(app, shared)) !== 404) expect(status).toBe(200);
});

test('what a replica with "service" put into the bucket reaches no client of a replica with "public" while it is hidden or unconfirmed', async () => {
  const shared = await pulledByAnother({ isPrivate: true });
  const { manifest, blobs } = shared.held;
  const names = [
    'manifests/1',
    `manifests/${manifest.digest}`,
    ...blobs.map(({ digest }) => `blobs/${digest}`),
    'tags/list',
  ];
  const statuses = async (app: RunningApp) => {
    const seen = new Set<number>();
    for (const name of names)
      for (const method of ['GET', 'HEAD']) seen.add((await ask(app, `/v2/${repository}/${name}`, { method })).status);
    return [...seen];
  };
  const app = await replica(shared, checked);
  expect(await statuses(app)).toEqual([404]);
  await shared.upstream.stop();
  expect(await statuses(app)).toEqual([404]);
  expect(await statuses(await replica(shared, checked))).toEqual([503]);
});
