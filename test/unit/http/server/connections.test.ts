import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import Koa from 'koa';
import { expect, onTestFinished, test } from 'vitest';
import { Connections } from '../../../../src/http/server/connections.ts';
import { Listener, type ListenOptions } from '../../../../src/http/server/listener.ts';
import { ask, caughtUp } from '../../../support/client.ts';
import { type Gate, gate } from '../../../support/gate.ts';
import { sendRaw } from '../../../support/raw-request.ts';

function twoConnections() {
  const time = { nowMs: 0 };
  const connections = new Connections({ max: 2, nowMs: () => time.nowMs });
  const open = () => {
    const socket = new PassThrough();
    connections.opened(socket);
    return socket;
  };
  return { time, connections, open, first: open(), second: open() };
}

test('at the limit of connections, the one that was idle longest is closed for a new client', async () => {
  const { time, connections, open, first, second } = twoConnections();
  connections.answering(first)();
  connections.answering(second)();
  connections.answering(first)();
  time.nowMs = 5_000;
  const third = open();
  await once(second, 'close');
  expect([connections.isSurplus(third), first.destroyed]).toEqual([false, false]);
});

test('a connection with a running or a very recent request is not closed', () => {
  const { time, connections, open, first, second } = twoConnections();
  connections.answering(first);
  time.nowMs = 60_000;
  connections.answering(second)();
  time.nowMs += 4_999;
  expect(connections.isSurplus(open())).toBe(true);
  expect([first.destroyed, second.destroyed]).toEqual([false, false]);
});

test('a connection that has sent no request for a while is closed for a new client', () => {
  const { time, connections, open, first, second } = twoConnections();
  connections.answering(second);
  time.nowMs = 4_999;
  expect(connections.isSurplus(open())).toBe(true);
  time.nowMs = 5_000;
  expect(connections.isSurplus(open())).toBe(false);
  expect([first.destroyed, second.destroyed]).toEqual([true, false]);
});

test('one closed connection makes room for one client, not for two', () => {
  const { time, connections, open, first, second } = twoConnections();
  connections.answering(first)();
  connections.answering(second);
  time.nowMs = 5_000;
  expect([connections.isSurplus(open()), connections.isSurplus(open())]).toEqual([false, true]);
});

const requestFor = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: mirror\r\n\r\n`;

/** A listener whose answers for `/held` wait for the gate. */
async function started(options: Partial<ListenOptions> = {}) {
  const held: Gate = gate();
  const begun: { readonly path: string; readonly socket: Socket }[] = [];
  const app = new Koa();
  app.use(async ({ path, req, response }) => {
    begun.push({ path, socket: req.socket });
    if (path === '/held') await held.opened;
    response.body = path;
  });
  const listener = new Listener(app, {
    name: 'listener',
    host: '127.0.0.1',
    port: 0,
    idleTimeoutMs: 60_000,
    ...options,
  });
  await listener.start();
  onTestFinished(() => listener.stop({ signal: AbortSignal.abort() }));
  const url = listener.address;
  return { held, begun, url, count: (path: string) => begun.filter((one) => one.path === path).length };
}

async function connected(url: string): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.on('error', () => {}); // A reset is an end as well.
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

/** A reset is an end as well. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.resume().once('close', () => resolve()));
}

test('pipelined requests are all answered, one after another, in order', async () => {
  const { url } = await started();
  const paths = Array.from({ length: 32 }, (_, index) => `/${index}`);
  const requests = paths.map((path) => requestFor(path));
  const last = 'GET /last HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n';
  const answers = await sendRaw(new URL(url).host, [...requests, last].join(''));
  expect(answers.map(({ body }) => body)).toEqual([...paths, '/last']);
});

test('pipelined requests beyond a few are not read before those are answered', async () => {
  const { url, held, begun, count } = await started();
  const socket = await connected(url);
  socket.resume();
  const few = requestFor('/held') + requestFor('/next').repeat(8);
  socket.write(few);
  await expect.poll(() => begun[0]?.socket.bytesRead).toBe(few.length);
  socket.write(requestFor('/next').repeat(20));
  await caughtUp({ url });
  expect(begun[0]?.socket.bytesRead).toBe(few.length);
  expect(count('/next')).toBe(0);
  held.open();
  await expect.poll(() => count('/next')).toBe(28);
});

test('a connection with more than 32 pipelined requests is closed, and one with 32 is served', async () => {
  const rejected: string[] = [];
  const { url, held, count } = await started({ onRejected: (reason) => rejected.push(reason) });
  const [many, few] = [await connected(url), await connected(url)];
  few.resume().write(requestFor('/held') + requestFor('/next').repeat(32));
  many.write(requestFor('/held') + requestFor('/many').repeat(1_000));
  await closed(many);
  expect(rejected).toEqual(['requests']);
  held.open();
  await expect.poll(() => count('/next')).toBe(32);
  expect(count('/many')).toBe(0);
});

test('sixty connections with thousands of pipelined requests leave no request waiting, and do not affect others', async () => {
  const rejected: string[] = [];
  // As many as others send who stay below the bound.
  const { url, held, count } = await started({ maxPipelined: 64, onRejected: (reason) => rejected.push(reason) });
  for (let client = 0; client < 60; client += 1) {
    const hostile = await connected(url);
    hostile.write(requestFor('/held') + requestFor('/many').repeat(2_000));
    await closed(hostile);
  }
  expect(rejected).toHaveLength(60);
  for (const client of [await connected(url), await connected(url)]) {
    client.resume().write(requestFor('/held') + requestFor('/next').repeat(32));
  }
  await expect.poll(() => count('/held')).toBe(62);
  expect(rejected).toHaveLength(60);
  held.open();
  await expect.poll(() => count('/next')).toBe(64);
});

test('a connection that exceeds the total of waiting requests is closed, and others are served', async () => {
  const rejected: string[] = [];
  const { url } = await started({ maxPipelined: 20, onRejected: (reason) => rejected.push(reason) });
  const [first, second] = [await connected(url), await connected(url)];
  first.write(requestFor('/held') + requestFor('/next').repeat(10));
  second.write(requestFor('/held') + requestFor('/next').repeat(11));
  await closed(second);
  expect(rejected).toEqual(['requests']);
  expect((await ask({ url }, '/other')).status).toBe(200);
});

test('a client that leaves with waiting requests leaves none behind', async () => {
  const { url, count, held } = await started({ maxPipelined: 5 });
  for (const turn of [1, 2, 3]) {
    const socket = await connected(url);
    socket.write(requestFor('/held') + requestFor('/next').repeat(5));
    await expect.poll(() => count('/held')).toBe(turn);
    await caughtUp({ url });
    socket.destroy();
    await caughtUp({ url });
  }
  held.open();
  await caughtUp({ url });
  expect(count('/next')).toBe(0);
});

test('a connection with many small requests gets one answer per event loop turn, so that others do not wait', async () => {
  const { url, held, begun, count } = await started();
  const socket = await connected(url);
  socket.resume();
  socket.write(requestFor('/held') + requestFor('/next').repeat(32));
  await expect.poll(() => count('/held')).toBe(1);
  await caughtUp({ url });
  const perTurn: number[] = [];
  const before = begun.length;
  held.open();
  for (let seen = before; seen < before + 32; seen = begun.length) {
    await nextTurn();
    perTurn.push(begun.length - seen);
  }
  expect(Math.max(...perTurn)).toBeLessThan(4);
});
