import type { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { sendJson, serve } from '../upstream/serve.ts';
import { gate } from '../../support/gate.ts';
import {
  app,
  blob,
  latest,
  openWhole,
  rawServer,
  readBlob,
  siblingThat,
  startSiblings,
  timeouts,
  waiting,
} from './start-siblings.ts';

test('a sibling that refuses the secret is remembered, and not asked again for a while', async () => {
  const isTrusting = { now: false };
  const { sibling, server, siblings, clock, observer } = await siblingThat((_, response) => {
    if (isTrusting.now) response.writeHead(200, { 'content-length': '10' }).end(blob);
    else sendJson(response, {}, 401);
  });
  expect(siblings.refusedBy).toEqual([]);
  await expect(openWhole(sibling)).rejects.toMatchObject({ reason: 'refused' });
  expect(siblings.refusedBy).toEqual([server.url]);
  const before = server.seen.length;
  await expect(openWhole(sibling)).rejects.toMatchObject({ reason: 'refused' });
  expect(server.seen).toHaveLength(before);
  isTrusting.now = true;
  clock.advance(10_000);
  expect((await readBlob(sibling)).equals(blob)).toBe(true);
  expect(siblings.refusedBy).toEqual([]);
  expect(observer.siblingsAsked).toEqual(['blob refused', 'blob refused', 'blob ok']);
});

test('with a new secret a sibling that refused the old one is asked at once', async () => {
  const other = 'the next secret, which is long enough too';
  const { sibling, siblings } = await siblingThat(({ headers }, response) => {
    if (headers.authorization === `Bearer ${other}`) response.writeHead(200, { 'content-length': '10' }).end(blob);
    else sendJson(response, {}, 401);
  });
  await expect(openWhole(sibling)).rejects.toMatchObject({ reason: 'refused' });
  siblings.rely({ secret: other });
  expect((await readBlob(sibling)).equals(blob)).toBe(true);
});

test('after a rotation it is known at once who refuses the new secret', async () => {
  const server = await serve(({ headers }, response) =>
    headers.authorization === 'Bearer the next secret'
      ? sendJson(response, {}, 401)
      : sendJson(response, { replica: 'r1' }),
  );
  const { siblings } = startSiblings([server.url]);
  await expect.poll(() => server.seen.length).toBe(1);
  expect(siblings.refusedBy).toEqual([]);
  siblings.rely({ secret: 'the next secret' });
  await expect.poll(() => siblings.refusedBy).toEqual([server.url]);
});

test('a refused secret is known before anything is asked for', async () => {
  const server = await serve((_, response) => sendJson(response, {}, 401));
  const { siblings } = startSiblings([server.url]);
  await expect.poll(() => siblings.refusedBy).toEqual([server.url]);
});

test('a sibling that is silent is waited for once, and asked again when it answers a ping', async () => {
  const frozen = gate();
  const server = await serve(({ url }, response) => {
    const answer = () => {
      if (url.pathname === '/v1/') sendJson(response, { replica: 'r1' });
      else response.writeHead(200, { 'content-length': '10' }).end(blob);
    };
    void frozen.opened.then(answer);
  });
  const { at } = startSiblings([server.url], { timeouts });
  await expect(openWhole(at(server.url))).rejects.toMatchObject({ reason: 'timeout' });
  const asked = () => server.seen.filter(({ url }) => url.pathname !== '/v1/').length;
  const before = asked();
  for (let i = 0; i < 100; i += 1) await expect(openWhole(at(server.url))).rejects.toMatchObject({ reason: 'connect' });
  expect(asked()).toBe(before);
  frozen.open();
  await expect.poll(() => readBlob(at(server.url)).catch(() => undefined)).toEqual(blob);
});

test('a sibling whose upstream is slow is asked for other content', async () => {
  const { sibling, server } = await siblingThat(({ url }, response) => {
    if (url.pathname.includes('/tags/')) sendJson(response, {}, 404);
  });
  await expect(openWhole(sibling)).rejects.toMatchObject({ reason: 'timeout' });
  await expect.poll(() => sibling.tag(app, latest, waiting).catch(() => 'silent')).toBeUndefined();
  expect(server.seen.some(({ url }) => url.pathname.includes('/tags/'))).toBe(true);
});

test('a sibling that says without end that its upstream is slow is left, and asked for other content', async () => {
  const { sibling } = await siblingThat(({ url }, response) => {
    if (url.pathname.includes('/tags/')) return sendJson(response, {}, 404);
    const telling = setInterval(() => response.writeProcessing(), 50);
    response.once('close', () => clearInterval(telling));
  });
  await expect(openWhole(sibling)).rejects.toMatchObject({ reason: 'timeout' });
  await expect.poll(() => sibling.tag(app, latest, waiting).catch(() => 'silent')).toBeUndefined();
});

test('an address where this replica itself answers is not asked', async () => {
  const server = await serve((_, response) => sendJson(response, { replica: 'self' }));
  const { siblings } = startSiblings([server.url], { selfId: 'self' });
  await expect.poll(() => siblings.at(server.url)).toBeUndefined();
});

test('the secret is sent only to addresses of the membership', async () => {
  const [one, other] = [await serve((_, r) => sendJson(r, {}, 404)), await serve((_, r) => sendJson(r, {}, 404))];
  const { siblings } = startSiblings([one.url]);
  expect(siblings.at(other.url)).toBeUndefined();
  siblings.follow([other.url]);
  expect(siblings.at(one.url)).toBeUndefined();
  expect(siblings.at(other.url)).toBeDefined();
});

test.each(['ftp://127.0.0.1', 'http://user@127.0.0.1', 'http://127.0.0.1/path', 'nonsense', ''])(
  'a sibling at %j is not asked',
  (address) => {
    expect(startSiblings([address]).siblings.at(address)).toBeUndefined();
  },
);

test('the connections to a sibling that left are closed', async () => {
  const open = new Set<Socket>();
  const address = await rawServer((socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    socket.write('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n');
  });
  const { siblings } = startSiblings([address]);
  await expect.poll(() => open.size).toBe(1);
  siblings.follow([]);
  await expect.poll(() => open.size).toBe(0);
});

test('no more siblings than 256 have connections', () => {
  const { siblings } = startSiblings(Array.from({ length: 300 }, (_, n) => `http://127.0.0.1:${n + 1}`));
  expect(siblings.at('http://127.0.0.1:256')).toBeDefined();
  expect(siblings.at('http://127.0.0.1:257')).toBeUndefined();
});

test('more requests than may wait for one sibling are refused at once', async () => {
  const { sibling, observer } = await siblingThat(() => {});
  const asked = await Promise.allSettled(Array.from({ length: 200 }, () => openWhole(sibling)));
  expect(asked.every(({ status }) => status === 'rejected')).toBe(true);
  expect(observer.siblingsAsked.filter((event) => event === 'blob busy').length).toBeGreaterThanOrEqual(72);
});
