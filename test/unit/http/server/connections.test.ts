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

test('when there are enough connections, the one that has been idle longest makes way for a new client', async () => {
  const { time, connections, open, first, second } = twoConnections();
  connections.answering(first)();
  connections.answering(second)();
  connections.answering(first)();
  time.nowMs = 5_000;
  const third = open();
  await once(second, 'close');
  expect([connections.isSurplus(third), first.destroyed]).toEqual([false, false]);
});

test('a connection that answers, was never asked, or has only just answered does not make way', () => {
  const { time, connections, open, first, second } = twoConnections();
  connections.answering(first);
  time.nowMs = 60_000;
  expect(connections.isSurplus(open())).toBe(true);
  connections.answering(second)();
  time.nowMs += 4_999;
  expect(connections.isSurplus(open())).toBe(true);
  expect([first.destroyed, second.destroyed]).toEqual([false, false]);
});

test('a connection makes way for one client, not for two', () => {
  const { time, connections, open, first } = twoConnections();
  connections.answering(first)();
  time.nowMs = 5_000;
  expect([connections.isSurplus(open()), connections.isSurplus(open())]).toEqual([false, true]);
});
