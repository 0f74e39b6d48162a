import { buffer } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { parseTag } from '../../src/oci/reference.ts';
import { ask, open } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { type Content, image, multiPlatformImage, randomBlob } from '../support/images.ts';
import { pullAll, pullBlob } from '../support/pull.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';
import { hubRepository, type Replica, startReplica } from '../support/start-replica.ts';

const repository = 'library/app';
const app = hubRepository(repository);
const other = hubRepository('library/other');
const one = parseTag('1');
const waiting = { signal: new AbortController().signal };
const blobs = /\/blobs\//;
const mebibyte = 1024 * 1024;

/** A replica, and a blob of its upstream that nobody has pulled. */
async function startWith(bytes: number, config: MirrorConfig = {}) {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(bytes);
  upstream.content.addBlob(repository, blob);
  const replica = await startReplica(mirrorOf(upstream, config));
  return { upstream, blob, ...replica, path: `/v2/${repository}/blobs/${blob.digest}` };
}

async function read({ sibling }: Pick<Replica, 'sibling'>, { digest }: Content, start?: number): Promise<Buffer> {
  const options = { ...waiting, ...(start !== undefined && { range: { start } }) };
  const opened = await sibling.openBlob(app, digest, options);
  if (!opened) throw new Error('not there');
  expect(opened.offset).toBe(start ?? 0);
  return buffer(opened.body);
}

/** What a sibling gets of everything of an image. */
async function foundOf({ sibling }: Replica, upstream: FakeRegistry, of = app, pushed = multiPlatformImage()) {
  upstream.forgetRequests();
  const { manifest, children, blobs: parts } = pushed;
  const found = await Promise.all([
    ...[manifest, ...children].map(({ digest }) => sibling.manifest(of, digest, waiting)),
    ...parts.map(({ digest }) => sibling.openBlob(of, digest, waiting)),
    sibling.tag(of, one, waiting),
  ]);
  expect(upstream.count()).toBe(0);
  return found.filter((part) => part !== undefined).length;
}

test('a sibling gets a whole image that is cached here, by tag, and the upstream is asked nothing', async () => {
  const upstream = await startFakeRegistry();
  const pushed = multiPlatformImage();
  upstream.content.add(repository, '1', pushed);
  const replica = await startReplica(mirrorOf(upstream));
  expect(await foundOf(replica, upstream)).toBe(0);
  await pullAll(replica.app, repository, '1');
  await replica.app.quiet();
  expect(await foundOf(replica, upstream)).toBe(1 + pushed.children.length + pushed.blobs.length + 1);
  expect(await foundOf(replica, upstream, other)).toBe(0);
  replica.app.clock.advance(40 * 24 * 3_600_000);
  const tag = await replica.sibling.tag(app, one, waiting);
  expect(tag).toMatchObject({ digest: pushed.manifest.digest });
  await upstream.stop();
  await replica.restart(mirrorOf(upstream));
  expect((await read(replica, pushed.blobs[0]!)).equals(pushed.blobs[0]!.bytes)).toBe(true);
});

test('a sibling follows a download from its first byte, and again from its middle', async () => {
  const { upstream, blob, path, app: mirror, sibling } = await startWith(8 * mebibyte);
  const rest = gate();
  upstream.script({ path: blobs }, { holdBody: { afterBytes: 4 * mebibyte, until: rest } });
  const client = await open(mirror, path);
  await client.read(1);
  const opened = await sibling.openBlob(app, blob.digest, waiting);
  const pieces: Buffer[] = [];
  opened?.body.on('data', (piece: Buffer) => pieces.push(Buffer.from(piece)));
  await expect.poll(() => Buffer.concat(pieces).length).toBe(4 * mebibyte);
  const resumed = read({ sibling }, blob, 3 * mebibyte);
  rest.open();
  await expect.poll(() => Buffer.concat(pieces).equals(blob.bytes)).toBe(true);
  expect((await resumed).equals(blob.bytes.subarray(3 * mebibyte))).toBe(true);
  await client.rest();
  expect(upstream.count('GET', blobs)).toBe(1);
});

test('a sibling waits for a download whose upstream has not answered, unless it is to be answered at once', async () => {
  const { upstream, blob, path, app: mirror, sibling } = await startWith(mebibyte);
  const answers = gate();
  upstream.script({ path: blobs }, { holdHeaders: answers });
  const client = open(mirror, path);
  await expect.poll(() => upstream.count('GET', blobs)).toBe(1);
  expect(await sibling.openBlob(app, blob.digest, { ...waiting, atOnce: true })).toBeUndefined();
  expect(await sibling.openBlob(other, blob.digest, waiting)).toBeUndefined();
  const following = read({ sibling }, blob);
  answers.open();
  expect((await following).equals(blob.bytes)).toBe(true);
  await (await client).rest();
  expect(upstream.count('GET', blobs)).toBe(1);
});

test('a sibling gets a manifest that is being fetched, and waits for it', async () => {
  const upstream = await startFakeRegistry();
  const pushed = image();
  upstream.content.add(repository, '1', pushed);
  const { app: mirror, sibling } = await startReplica(mirrorOf(upstream));
  const answers = gate();
  upstream.script({ path: /\/manifests\// }, { holdHeaders: answers });
  const { digest, bytes } = pushed.manifest;
  const client = ask(mirror, `/v2/${repository}/manifests/${digest}`);
  await expect.poll(() => upstream.count('GET', /\/manifests\//)).toBe(1);
  expect(await sibling.manifest(app, digest, { ...waiting, atOnce: true })).toBeUndefined();
  const following = sibling.manifest(app, digest, waiting);
  answers.open();
  expect(bytes.equals((await following)?.bytes ?? Buffer.alloc(0))).toBe(true);
  await client;
  expect(upstream.count('GET', /\/manifests\//)).toBe(1);
});

test('a sibling shares the relay of a blob that cannot be stored', async () => {
  const {
    upstream,
    blob,
    path,
    app: mirror,
    sibling,
  } = await startWith(4 * mebibyte, { storage: { maxSize: '1MiB' } });
  const rest = gate();
  upstream.script({ path: blobs }, { holdBody: { afterBytes: mebibyte, until: rest } });
  const client = await open(mirror, path);
  const opened = await sibling.openBlob(app, blob.digest, waiting);
  rest.open();
  const [mine] = await Promise.all([opened && buffer(opened.body), client.rest()]);
  expect(mine?.equals(blob.bytes)).toBe(true);
  const late = await sibling.openBlob(app, blob.digest, waiting); // All of it is in memory for a moment more.
  expect(late && (await buffer(late.body)).equals(blob.bytes)).toBe(true);
  await expect.poll(async () => (await mirror.metrics()).sum('layerwell_memory_reserved_bytes')).toBe(0);
  expect(await sibling.openBlob(app, blob.digest, waiting)).toBeUndefined();
  expect(upstream.count('GET', blobs)).toBe(1);
});

test('a sibling that reads nothing delays neither the download nor its clients', async () => {
  const { blob, app: mirror, sibling } = await startWith(64 * mebibyte);
  const client = pullBlob(mirror, repository, blob.digest);
  const stalled = await Promise.all(Array.from({ length: 8 }, () => sibling.openBlob(app, blob.digest, waiting)));
  await client;
  await mirror.quiet();
  expect((await pullBlob(mirror, repository, blob.digest)).cache).toBe('hit');
  for (const one of stalled) one?.body.destroy();
});

test('a download that fails is cut for a sibling, never finished', async () => {
  const {
    upstream,
    blob,
    path,
    app: mirror,
    sibling,
  } = await startWith(2 * mebibyte, {
    download: { attemptsWithoutProgress: 1 },
  });
  const held = gate();
  upstream.script({ path: blobs, times: 1 }, { holdBody: { afterBytes: mebibyte, until: held } });
  const client = await open(mirror, path);
  await client.read(1);
  const opened = await sibling.openBlob(app, blob.digest, waiting);
  await upstream.stop();
  held.open();
  await expect(opened && buffer(opened.body)).rejects.toMatchObject({ name: 'UpstreamError' });
  await expect(client.rest()).rejects.toThrow(/abort|reset|close|cut|end/i);
});

/** A replica from which a client and a sibling read a blob whose upstream has stopped in the middle. */
async function startRead() {
  const started = await startWith(4 * mebibyte);
  const held = gate();
  started.upstream.script({ path: blobs, times: 1 }, { holdBody: { afterBytes: mebibyte, until: held } });
  const client = await open(started.app, started.path);
  await client.read(1);
  const opened = await started.sibling.openBlob(app, started.blob.digest, waiting);
  const received = opened && buffer(opened.body);
  received?.catch(() => {});
  return { ...started, mirror: started.app, held, client, received };
}

test('a replica that drains resets at the end what its siblings read, and they resume elsewhere', async () => {
  const { blob, mirror, sibling, held, client, received } = await startRead();
  await mirror.stop(0);
  await expect(received).rejects.toMatchObject({ name: 'UpstreamError' });
  await expect(sibling.openBlob(app, blob.digest, waiting)).rejects.toMatchObject({ reason: 'connect' });
  client.hangUp();
  held.open();
});

test('a replica that drains accepts no sibling, and lets those that read already read to the end', async () => {
  const { blob, mirror, sibling, held, client, received } = await startRead();
  const stopped = mirror.stop();
  const refused = async () =>
    sibling.openBlob(app, blob.digest, { ...waiting, range: { start: 1, end: 2 } }).then(
      (again) => again?.body.destroy(),
      (cause: unknown) => cause,
    );
  await expect.poll(refused).toMatchObject({ reason: 'connect' });
  held.open();
  expect((await received)?.equals(blob.bytes)).toBe(true);
  await client.rest();
  await stopped;
});

test('what siblings ask is counted', async () => {
  const { app: mirror, sibling, blob, url } = await startWith(mebibyte);
  await sibling.openBlob(app, blob.digest, waiting);
  await ask({ url }, '/v1/', {});
  const metrics = await mirror.metrics();
  expect(metrics.sum('layerwell_sibling_requests_served_total', { kind: 'blob', result: 'missing' })).toBe(1);
  expect(metrics.sum('layerwell_sibling_requests_served_total', { result: 'refused' })).toBe(1);
});
