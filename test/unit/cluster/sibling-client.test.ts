import { once } from 'node:events';
import { createServer } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { thisTest } from '../../support/owner.ts';
import { sendJson } from '../upstream/serve.ts';
import {
  app,
  blob,
  digest,
  latest,
  manifestType,
  openRest,
  openWhole,
  rawServer,
  secret,
  siblingThat,
  startSiblings,
  waiting,
} from './start-siblings.ts';

test('a blob is asked for by its repository, with the secret', async () => {
  const { sibling, server, observer } = await siblingThat((_, response) => {
    response.writeHead(200, { 'content-length': '10', 'layerwell-blob-size': '10' }).end(blob);
  });
  const opened = await openWhole(sibling);
  expect(opened).toMatchObject({ size: 10, offset: 0 });
  expect(opened && (await buffer(opened.body)).equals(blob)).toBe(true);
  const asked = server.seen.at(-1);
  expect(asked?.url.pathname).toBe(`/v1/docker.io/library/app/blobs/${digest}`);
  expect(asked?.headers.authorization).toBe(`Bearer ${secret}`);
  expect(observer.siblingsAsked).toEqual(['blob ok']);
});

test('the size of a blob that is still arriving is in a header of its own', async () => {
  const { sibling } = await siblingThat((_, response) => {
    response.writeHead(200, { 'layerwell-blob-size': '10' }).end(blob);
  });
  expect(await openWhole(sibling)).toMatchObject({ size: 10, offset: 0 });
});

test('a blob is resumed in its middle by a range', async () => {
  const { sibling, server } = await siblingThat((_, response) => {
    response.writeHead(206, { 'content-range': 'bytes 4-9/10', 'content-length': '6' }).end(blob.subarray(4));
  });
  const opened = await openRest(sibling);
  expect(opened).toMatchObject({ size: 10, offset: 4 });
  expect(server.seen.at(-1)?.headers.range).toBe('bytes=4-');
});

test('what a sibling does not have is no error', async () => {
  const { sibling, observer } = await siblingThat((_, response) => sendJson(response, {}, 404));
  expect(await openWhole(sibling)).toBeUndefined();
  expect(await sibling.manifest(app, digest, waiting)).toBeUndefined();
  expect(await sibling.tag(app, latest, waiting)).toBeUndefined();
  expect(await sibling.visibility(app, waiting)).toBeUndefined();
  expect(observer.siblingsAsked).toEqual(['blob missing', 'manifest missing', 'tag missing', 'visibility missing']);
});

test('the age of a tag and of a verdict counts from when they were asked for', async () => {
  const { sibling, clock } = await siblingThat(({ url }, response) => {
    if (url.pathname.endsWith('/visibility/verdict')) sendJson(response, { verdict: 'public', ageMs: 5_000 });
    else sendJson(response, { digest, mediaType: manifestType, size: 10, ageMs: 60_000 });
  });
  const now = clock.now();
  expect(await sibling.tag(app, latest, waiting)).toEqual({
    digest,
    mediaType: manifestType,
    size: 10,
    confirmedAtMs: now - 60_000,
  });
  expect(await sibling.visibility(app, waiting)).toEqual({ verdict: 'public', askedAtMs: now - 5_000 });
});

test('a manifest has the bytes of its digest', async () => {
  const { sibling } = await siblingThat((_, response) => {
    response.writeHead(200, { 'content-type': manifestType }).end(blob);
  });
  const manifest = await sibling.manifest(app, digest, waiting);
  expect(manifest).toMatchObject({ digest, mediaType: manifestType });
  expect(manifest && blob.equals(manifest.bytes)).toBe(true);
});

test('a sibling that is gone gives no usable answer', async () => {
  const address = await rawServer(() => {});
  const { at } = startSiblings(['http://127.0.0.1:1', address]);
  await expect(openWhole(at('http://127.0.0.1:1'))).rejects.toMatchObject({ reason: 'connect' });
});

test('a sibling that has a blob and sends it slowly is left; one that downloads it may be as slow as its upstream', async () => {
  const { sibling } = await siblingThat((_, response) => {
    response.writeHead(200, { 'content-length': '10' });
    let left = 10;
    const dripping = setInterval(() => {
      left -= 1;
      if (left > 0) response.write('0');
      else response.end('0');
    }, 30);
    response.once('close', () => clearInterval(dripping));
  });
  const opened = async (isStored: boolean) => (await sibling.openBlob(app, digest, { ...waiting, isStored }))?.body;
  const [stored, downloaded] = [await opened(true), await opened(false)];
  if (!stored || !downloaded) throw new Error('the sibling has no such blob');
  await expect(buffer(stored)).rejects.toMatchObject({ reason: 'timeout' });
  expect(await buffer(downloaded)).toHaveLength(10);
});

test('a caller that leaves ends the request', async () => {
  let closed = false;
  const { sibling, server, observer } = await siblingThat((_, response) => {
    response.once('close', () => {
      closed = true;
    });
  });
  const leaving = new AbortController();
  const asked = sibling.openBlob(app, digest, { signal: leaving.signal });
  await expect.poll(() => server.seen.length).toBe(2);
  leaving.abort(new Error('left'));
  await expect(asked).rejects.toThrow('left');
  await expect.poll(() => closed).toBe(true);
  expect(observer.siblingsAsked).toEqual(['blob aborted']);
});

test('a blob that is read no more ends its request', async () => {
  let closed = false;
  const { sibling } = await siblingThat((_, response) => {
    response.once('close', () => {
      closed = true;
    });
    response.writeHead(200).write('0123');
  });
  const opened = await openWhole(sibling);
  opened?.body.destroy();
  await expect.poll(() => closed).toBe(true);
});

test('a sibling that no connection can be made to in time is not tried again for a while', async () => {
  let connections = 0;
  const silent = createServer((socket) => {
    connections += 1;
    socket.on('error', () => {});
    thisTest(async () => void socket.destroy());
  });
  await once(silent.listen(0, '127.0.0.1'), 'listening');
  thisTest(async () => void silent.close());
  const address = silent.address();
  if (address === null || typeof address === 'string') throw new Error('it does not listen');
  const url = `https://127.0.0.1:${address.port}`; // It never answers the handshake.
  const { at, clock } = startSiblings([url], { timeouts: { connectMs: 50, headersMs: 5_000, idleMs: 5_000 } });
  await expect(openWhole(at(url))).rejects.toMatchObject({ reason: 'timeout' });
  const before = connections;
  await expect(openWhole(at(url))).rejects.toMatchObject({ reason: 'connect' });
  expect(connections).toBe(before);
  clock.advance(10_000);
  await expect(openWhole(at(url))).rejects.toMatchObject({ reason: 'timeout' });
  expect(connections).toBeGreaterThan(before);
});
