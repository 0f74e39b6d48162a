import { request } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { ageOf } from '../../../../src/http/siblings/sibling-answers.ts';
import type { HeldOptions } from '../../../../src/mirror/blobs/held-blobs.ts';
import { UnreadableContent } from '../../../../src/mirror/blobs/served-blob.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { ociManifest } from '../../../../src/oci/media-types.ts';
import { ask } from '../../../support/client.ts';
import { gate } from '../../../support/gate.ts';
import { randomBytes } from '../../../support/images.ts';
import { app, latest, secret, startSiblings, waiting } from '../../cluster/start-siblings.ts';
import { heldBlob, startListener } from './start-listener.ts';

const bytes = randomBytes(3_000_000, 'blob');
const digest = digestOf(bytes);
const authorization = `Bearer ${secret}`;
const blobPath = `/v1/docker.io/library/app/blobs/${digest}`;

/** A replica that holds this, and another that asks it. */
async function siblingOf(options: Parameters<typeof startListener>[0]) {
  const replica = await startListener(options);
  const { siblings, at, observer } = startSiblings([replica.url]);
  return { ...replica, sibling: at(replica.url), siblings, asking: observer };
}

test('a stored blob is read whole', async () => {
  const held = heldBlob(bytes);
  const { sibling, observer } = await siblingOf({ held: { blob: async () => held } });
  const opened = await sibling.openBlob(app, digest, waiting);
  expect(opened).toMatchObject({ size: bytes.length, offset: 0 });
  expect(opened && (await buffer(opened.body)).equals(bytes)).toBe(true);
  await expect.poll(() => held.isClosed).toBe(true);
  expect(observer.siblingsServed).toContain('blob ok');
});

test.each([
  { range: { start: 1_000_000 }, from: 1_000_000, until: bytes.length },
  { range: { start: 10, end: 19 }, from: 10, until: 20 },
  { range: { start: bytes.length - 1 }, from: bytes.length - 1, until: bytes.length },
  { range: { start: 0, end: 9_999_999 }, from: 0, until: bytes.length },
])('a blob is read from $from to $until', async ({ range, from, until }) => {
  const { sibling } = await siblingOf({ held: { blob: async () => heldBlob(bytes) } });
  const opened = await sibling.openBlob(app, digest, { ...waiting, range });
  expect(opened).toMatchObject({ size: bytes.length, offset: from });
  expect(opened && (await buffer(opened.body)).equals(bytes.subarray(from, until))).toBe(true);
});

test('a range outside of the blob is no usable answer', async () => {
  const { sibling, observer } = await siblingOf({ held: { blob: async () => heldBlob(bytes) } });
  const asked = sibling.openBlob(app, digest, { ...waiting, range: { start: bytes.length } });
  await expect(asked).rejects.toMatchObject({ reason: 'misbehaving' });
  await expect.poll(() => observer.siblingsServed).toContain('blob invalid');
});

test('a range of a blob whose size is not known yet is answered with the whole', async () => {
  const { sibling } = await siblingOf({ held: { blob: async () => heldBlob(bytes, { size: undefined }) } });
  const opened = await sibling.openBlob(app, digest, { ...waiting, range: { start: 1_000 } });
  expect(opened).toMatchObject({ size: undefined, offset: 0 });
  expect(opened && (await buffer(opened.body)).equals(bytes)).toBe(true);
});

test('the first bytes of a download are sent as they arrive', async () => {
  const rest = gate();
  const read = async (into: Uint8Array, position: number) => {
    if (position >= 100_000) await rest.opened;
    return bytes.subarray(0, position < 100_000 ? 100_000 : undefined).copy(into, 0, position);
  };
  const source = { read, [Symbol.asyncDispose]: async () => {} };
  const growing = heldBlob(bytes, { source, cache: { word: 'collapsed' } });
  const { sibling } = await siblingOf({ held: { blob: async () => growing } });
  const opened = await sibling.openBlob(app, digest, waiting);
  if (!opened) throw new Error('not there');
  const first: Buffer[] = [];
  opened.body.on('data', (piece: Buffer) => first.push(piece));
  await expect.poll(() => Buffer.concat(first).length).toBe(100_000);
  rest.open();
  await expect.poll(() => Buffer.concat(first).equals(bytes)).toBe(true);
});

test('the headers of a download are there before its first byte', async () => {
  const rest = gate();
  const read = async (into: Uint8Array, position: number) => {
    await rest.opened;
    return bytes.copy(into, 0, position);
  };
  const source = { read, [Symbol.asyncDispose]: async () => {} };
  const growing = heldBlob(bytes, { source, cache: { word: 'collapsed' } });
  const { sibling } = await siblingOf({ held: { blob: async () => growing } });
  expect(await sibling.openBlob(app, digest, waiting)).toMatchObject({ size: bytes.length });
  rest.open();
});

test('a stored blob that the disk cannot read is not here', async () => {
  const read = () => Promise.reject(new UnreadableContent(new Error('EIO')));
  const held = heldBlob(bytes, { source: { read, [Symbol.asyncDispose]: async () => {} } });
  const { sibling, bugs } = await siblingOf({ held: { blob: async () => held } });
  expect(await sibling.openBlob(app, digest, waiting)).toBeUndefined();
  expect(bugs).toEqual([]);
});

test('a blob that fails in its middle is cut, never finished', async () => {
  const read = async (into: Uint8Array, position: number) => {
    if (position > 1_000_000) throw new UnreadableContent(new Error('EIO'));
    return bytes.copy(into, 0, position);
  };
  const held = heldBlob(bytes, { source: { read, [Symbol.asyncDispose]: async () => {} } });
  const { sibling, observer } = await siblingOf({ held: { blob: async () => held } });
  const opened = await sibling.openBlob(app, digest, waiting);
  await expect(opened && buffer(opened.body)).rejects.toMatchObject({ reason: 'connect' });
  await expect.poll(() => observer.siblingsServed).toContain('blob cut');
});

test('a sibling that leaves closes what it read, and no bug is reported', async () => {
  const wait = gate();
  const read = async () => {
    await wait.opened;
    return 0;
  };
  let isClosed = false;
  const close = async () => {
    isClosed = true;
    wait.open();
  };
  const growing = heldBlob(bytes, { source: { read, [Symbol.asyncDispose]: close }, cache: { word: 'collapsed' } });
  const { sibling, bugs } = await siblingOf({ held: { blob: async () => growing } });
  const opened = await sibling.openBlob(app, digest, waiting);
  opened?.body.destroy();
  await expect.poll(() => isClosed).toBe(true);
  expect(bugs).toEqual([]);
});

test('small and large manifests are read with their media type', async () => {
  for (const manifest of [Buffer.from('{}'), randomBytes(4 * 1024 * 1024, 'manifest')]) {
    const digest = digestOf(manifest);
    const held = { digest, bytes: manifest, mediaType: ociManifest, firstServedAtMs: 0 };
    const { sibling } = await siblingOf({ held: { manifest: async () => held } });
    const read = await sibling.manifest(app, digest, waiting);
    expect(read).toMatchObject({ digest, mediaType: ociManifest });
    expect(read && manifest.equals(read.bytes)).toBe(true);
  }
});

test('tags and verdicts are told with their age', async () => {
  const replica = await startListener({
    held: {
      tag: async () => ({ digest, mediaType: ociManifest, size: 10, confirmedAtMs: Date.UTC(2030, 0, 1) - 5_000 }),
      visibility: async () => ({ verdict: 'hidden', askedAtMs: Date.UTC(2030, 0, 1) - 7_000 }),
    },
  });
  const { at, clock } = startSiblings([replica.url]);
  expect(await at(replica.url).tag(app, latest, waiting)).toMatchObject({
    digest,
    size: 10,
    confirmedAtMs: clock.now() - 5_000,
  });
  expect(await at(replica.url).visibility(app, waiting)).toEqual({
    verdict: 'hidden',
    askedAtMs: clock.now() - 7_000,
  });
});

test('a record from the future counts as very old', () => {
  expect(ageOf(1_000, 1_500)).toBe(500);
  expect(ageOf(2_000, 1_500)).toBe(1_500);
});

test('whether to wait, and where a range begins, is passed on', async () => {
  const asked: unknown[] = [];
  const none = async (_named: unknown, _digest: unknown, { atOnce, start }: HeldOptions) => {
    asked.push([atOnce, start]);
    return undefined;
  };
  const { sibling } = await siblingOf({ held: { blob: none, manifest: none } });
  await sibling.openBlob(app, digest, waiting);
  await sibling.openBlob(app, digest, { ...waiting, atOnce: true, range: { start: 1_000 } });
  await sibling.manifest(app, digest, { ...waiting, atOnce: true });
  expect(asked).toEqual([
    [false, 0],
    [true, 1_000],
    [true, 0],
  ]);
});

test('whatever is not here has one and the same answer', async () => {
  const replica = await startListener();
  const paths = [
    blobPath,
    blobPath.replace('blobs', 'manifests'),
    '/v1/docker.io/library/app/tags/1',
    '/v1/nothing',
    '/',
  ];
  const answers = [];
  for (const path of paths) answers.push(await ask(replica, path, { headers: { authorization } }));
  for (const { status, headers, body } of answers) {
    expect(status).toBe(404);
    expect(body.equals(answers[0]?.body ?? Buffer.alloc(0))).toBe(true);
    expect({ ...headers, date: '' }).toEqual({ ...answers[0]?.headers, date: '' });
  }
});

test.each(['POST', 'PUT', 'DELETE', 'HEAD'])('%s is not supported', async (method) => {
  const replica = await startListener({ held: { blob: async () => heldBlob(bytes) } });
  const { status, headers } = await ask(replica, blobPath, { method, headers: { authorization } });
  expect(status).toBe(405);
  expect(headers['allow']).toBe('GET');
});

test('a replica that waits for its upstream says so, and a sibling waits for it for as long as that', async () => {
  const upstream = gate();
  let hasTold = 0;
  const held = async () => {
    await upstream.opened;
    return heldBlob(bytes);
  };
  const { url } = await startListener({ held: { blob: held }, tellEveryMs: 20 });
  const told = request(`${url}${blobPath}`, { headers: { authorization } });
  const often = Promise.withResolvers<void>();
  told.on('information', ({ statusCode }) => {
    hasTold += statusCode === 102 ? 1 : 0;
    if (hasTold === 75) often.resolve(); // By then the other one would have given up twice.
  });
  told.end();
  const { at } = startSiblings([url], { timeouts: { connectMs: 5_000, headersMs: 700, idleMs: 5_000 } });
  const opening = at(url).openBlob(app, digest, waiting);
  await Promise.race([often.promise, opening]);
  upstream.open();
  const opened = await opening;
  expect(opened && (await buffer(opened.body)).equals(bytes)).toBe(true);
  told.destroy();
});
