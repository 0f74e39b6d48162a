import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { digestOf, isDigest } from '../../src/oci/digest.ts';
import { ociIndex, ociManifest } from '../../src/oci/media-types.ts';
import { ask } from '../support/client.ts';
import { diskUseOf } from '../support/disk-use.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image, referrerOf } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { type Replaced, type RunningApp, startApp } from '../support/start-app.ts';

const mebi = 1024 * 1024;
const maxBytes = 4 * mebi;
const maxFiles = 1_000;
/** The empty index with its log (4 MiB), the folders of blobs, and the few records that were written last. */
const slack = { bytes: 5.5 * mebi, files: 350 };
/** Files that several clients write at the same time. */
const inFlight = 32;
const repository = 'library/app';
const hot = image({ name: 'hot' });
const hotBlob = hot.blobs[0]?.digest;
const signature = referrerOf(hot.manifest);
const blobOf = (number: number): Buffer => Buffer.from(number.toString(36));

/** A registry that has whatever it is asked for; each of its tags that begin with `hot` is the image that others use. */
async function startObligingRegistry(): Promise<string> {
  const server = createServer(answer);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => server.close(() => {}).closeAllConnections());
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === 'string') throw new Error('it listens on a port');
  return `http://127.0.0.1:${address.port}`;
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  const { pathname } = new URL(request.url ?? '/', 'http://registry');
  const [, name = '', kind, reference = ''] =
    /^\/v2\/(.+)\/(tags|referrers|manifests|blobs)\/(.+)$/.exec(pathname) ?? [];
  if (kind === 'tags') return json(response, { name, tags: ['1'] });
  const described = { mediaType: ociManifest, digest: digestOf(Buffer.from(reference)), size: 2 };
  if (kind === 'referrers') return json(response, { schemaVersion: 2, mediaType: ociIndex, manifests: [described] });
  if (kind !== 'manifests') return json(response, {});
  const digest =
    reference.startsWith('hot') || isDigest(reference) ? hot.manifest.digest : digestOf(Buffer.from(pathname));
  response.setHeader('Docker-Content-Digest', digest);
  response.setHeader('Content-Type', ociManifest);
  if (request.method === 'GET') response.end(hot.manifest.bytes);
  else response.setHeader('Content-Length', hot.manifest.bytes.length).end();
}

function json(response: ServerResponse, body: object): void {
  response.setHeader('Content-Type', ociIndex).end(JSON.stringify(body));
}

async function started(
  replaced: Replaced = {},
): Promise<{ readonly app: RunningApp; readonly upstream: FakeRegistry }> {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', hot, [signature]);
  const config = {
    defaultUpstream: 'docker.io',
    upstreams: { 'docker.io': { url: upstream.url }, 'evil.test': { url: await startObligingRegistry() } },
    storage: { minFree: '0B', maxSize: '4MiB', maxFiles },
  };
  const app = await startApp(config, replaced);
  await pullHot(app);
  await ask(app, `/v2/${repository}/referrers/${hot.manifest.digest}`);
  return { app, upstream };
}

async function pullHot(app: RunningApp): Promise<void> {
  await pullAll(app, repository, '1');
  await app.quiet();
}

/** Asks for `count` things, some at a time. */
async function flood(
  app: RunningApp,
  count: number,
  pathOf: (number: number) => string,
  method = 'GET',
): Promise<void> {
  const numbers = Array.from({ length: count }, (_, number) => number).values();
  const client = async (): Promise<void> => {
    for (const number of numbers) expect((await ask(app, pathOf(number), { method })).status).toBe(200);
  };
  await Promise.all(Array.from({ length: 8 }, client));
}

async function expectBound(app: RunningApp): Promise<void> {
  await app.quiet();
  await expect
    .poll(async () => (await diskUseOf(app.dataDirectory)).bytes, { timeout: 10_000 })
    .toBeLessThan(maxBytes + slack.bytes);
  await expect
    .poll(async () => (await diskUseOf(app.dataDirectory)).files, { timeout: 10_000 })
    .toBeLessThan(maxFiles + slack.files);
}

/** All that a client asks for when it pulls, with the upstream gone. */
async function expectServed({ app, upstream }: { app: RunningApp; upstream: FakeRegistry }): Promise<void> {
  await upstream.stop();
  await app.restart();
  const { parts } = await pullAll(app, repository, '1');
  expect([...parts.values()].map(({ cache }) => cache)).not.toContain('miss');
  const referrers = await ask(app, `/v2/${repository}/referrers/${hot.manifest.digest}`);
  expect(referrers.body.toString()).toContain(signature.manifest.digest);
}

const digestNamed = (number: number) => digestOf(Buffer.from(`digest ${number}`));

test.each([
  {
    what: 'referrers of random digests',
    pathOf: (number: number) => `/v2/team/app/referrers/${digestNamed(number)}?ns=evil.test`,
  },
  {
    what: 'tags of invented repositories',
    pathOf: (number: number) => `/v2/team/app-${number}/tags/list?ns=evil.test`,
  },
  {
    what: 'HEADs of invented tags',
    pathOf: (number: number) => `/v2/team/app-${number % 700}/manifests/v${number}?ns=evil.test`,
    method: 'HEAD',
  },
])(
  'a flood of $what keeps the store within its bound, and cached content stays',
  { timeout: 180_000 },
  async (flooded) => {
    const mirror = await started();
    await flood(mirror.app, 1_800, flooded.pathOf, flooded.method);
    await expectBound(mirror.app);
    await expectServed(mirror);
    await expectBound(mirror.app); // What was still to be written is.
  },
);

test('thousands of tiny blobs count with the blocks and files they use', { timeout: 180_000 }, async () => {
  const { app, upstream } = await started();
  for (let round = 0; round < 6; round += 1) {
    const first = 10_000 + round * 250;
    for (let number = first; number < first + 250; number += 1) {
      const bytes = blobOf(number);
      upstream.content.addBlob('tiny/app', { mediaType: 'application/octet-stream', bytes, digest: digestOf(bytes) });
    }
    await flood(app, 250, (number) => `/v2/tiny/app/blobs/${digestOf(blobOf(first + number))}`);
    app.clock.advance(1_000);
    await pullHot(app);
  }
  await expectBound(app);
  const metrics = await app.metrics();
  expect(metrics.sum('layerwell_storage_files')).toBeLessThanOrEqual(maxFiles + inFlight);
  expect(metrics.sum('layerwell_storage_used_bytes')).toBeLessThanOrEqual(maxBytes + inFlight * 4096);
  expect(metrics.sum('layerwell_storage_used_bytes')).toBeGreaterThan(maxBytes / 2);
  await expectServed({ app, upstream });
});

/** Things in use that other repositories are linked to. */
const linkedTo = [
  {
    what: 'one blob',
    pathOf: (number: number) => `/v2/team/app-${number}/blobs/${hotBlob}?ns=evil.test`,
  },
  {
    what: 'one manifest',
    pathOf: (number: number) => `/v2/team/app-${number}/manifests/${hot.manifest.digest}?ns=evil.test`,
  },
  {
    what: 'referrers of one manifest',
    pathOf: (number: number) => `/v2/team/app-${number}/referrers/${hot.manifest.digest}?ns=evil.test`,
  },
  {
    what: 'a tag of one manifest',
    pathOf: (number: number) => `/v2/team/app-${number}/manifests/hot?ns=evil.test`,
  },
];

test.each(linkedTo)(
  'any number of invented repositories linked to $what in use keeps the store within its bound',
  { timeout: 180_000 },
  async ({ pathOf }) => {
    const mirror = await started();
    for (let round = 0; round < 5; round += 1) {
      await flood(mirror.app, 100, (number) => pathOf(round * 100 + number));
      mirror.app.clock.advance(1_000);
      await pullHot(mirror.app);
    }
    await expectBound(mirror.app);
    await expectServed(mirror);
  },
);

test.each(linkedTo)(
  'invented repositories linked to $what, whose records a slow disk takes late, are evicted before what is in use',
  { timeout: 180_000 },
  async ({ pathOf }) => {
    const files = new ScriptedFiles();
    const mirror = await started({ files });
    const { app, upstream } = mirror;
    const disk = gate();
    files.before = async ({ operation, path }) => {
      if (operation === 'mkdir' && path.includes('/repositories/evil.test')) await disk.opened;
    };
    await flood(app, 400, pathOf);
    app.clock.advance(1_000);
    upstream.forgetRequests();
    await pullHot(app);
    expect(upstream.requests).toEqual([]);
    disk.open();
    await expectBound(app);
    await expectServed(mirror);
  },
);

test('thousands of tags of one manifest in use are removed before anything else', { timeout: 180_000 }, async () => {
  const mirror = await started();
  await ask(mirror.app, `/v2/team/app/manifests/${hot.manifest.digest}?ns=evil.test`);
  await flood(mirror.app, 1_200, (number) => `/v2/team/app/manifests/hot-${number}?ns=evil.test`, 'HEAD');
  await expectBound(mirror.app);
  await expectServed(mirror);
});

test('an empty listing leaves no file', async () => {
  const { app, upstream } = await started();
  upstream.script({ path: /tags|referrers/ }, { body: () => Buffer.from('{"tags":[],"manifests":[]}') });
  const before = await diskUseOf(app.dataDirectory);
  for (let number = 0; number < 20; number += 1) {
    await ask(app, `/v2/team/app-${number}/referrers/${digestNamed(number)}`);
    await ask(app, `/v2/team/app-${number}/tags/list`);
  }
  await app.stop();
  // One more may be the reserve for removals, which is made after the start.
  expect((await diskUseOf(app.dataDirectory)).files).toBeLessThanOrEqual(before.files + 1);
});

test('unneeded records of an earlier process are found, and removed first', { timeout: 180_000 }, async () => {
  const mirror = await started();
  const { app } = mirror;
  await flood(app, 400, (number) => `/v2/team/app-${number}/tags/list?ns=evil.test`);
  const config = app.config;
  await app.restart({ ...config, storage: { ...Object(config['storage']), maxSize: '1MiB' } });
  await expect
    .poll(async () => (await diskUseOf(app.dataDirectory)).files, { timeout: 10_000 })
    .toBeLessThan(100 + slack.files);
  await expectServed(mirror);
});
