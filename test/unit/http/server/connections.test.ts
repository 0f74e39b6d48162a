import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { Connections } from '../../../../src/http/server/connections.ts';

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

test('a connection with a running, no or a very recent request is not closed', () => {
  const { time, connections, open, first, second } = twoConnections();
  connections.answering(first);
  time.nowMs = 60_000;
  expect(connections.isSurplus(open())).toBe(true);
  connections.answering(second)();
  time.nowMs += 4_999;
  expect(connections.isSurplus(open())).toBe(true);
  expect([first.destroyed, second.destroyed]).toEqual([false, false]);
});

test('one closed connection makes room for one client, not for two', () => {
  const { time, connections, open, first } = twoConnections();
  connections.answering(first)();
  time.nowMs = 5_000;
  expect([connections.isSurplus(open()), connections.isSurplus(open())]).toEqual([false, true]);
});
