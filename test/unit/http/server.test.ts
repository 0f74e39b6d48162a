import { once } from 'node:events';
import { connect } from 'node:net';
import Koa from 'koa';
import { expect, onTestFinished, test } from 'vitest';
import { hostInsteadOf, Listener } from '../../../src/http/server.ts';

const failed = (code: string): Error => Object.assign(new Error(`listen ${code}`), { code });

test.each([
  { host: '::', code: 'EAFNOSUPPORT', other: '0.0.0.0' },
  { host: '::', code: 'EADDRNOTAVAIL', other: '0.0.0.0' },
  { host: '::', code: 'EADDRINUSE', other: undefined },
  { host: '::', code: 'EACCES', other: undefined },
  { host: '::1', code: 'EAFNOSUPPORT', other: undefined },
  { host: '192.0.2.1', code: 'EADDRNOTAVAIL', other: undefined },
])('where $host cannot be listened on for $code, it is $other instead', ({ host, code, other }) => {
  expect(hostInsteadOf(host, failed(code))).toBe(other);
});

test('a client that dribbles its headers is told so and cut, whatever it sends meanwhile', async () => {
  const settings = { name: 'listener', host: '127.0.0.1', port: 0, idleTimeoutMs: 60_000, headersTimeoutMs: 200 };
  const listener = new Listener(new Koa(), settings);
  await listener.start();
  onTestFinished(() => listener.stop({ signal: AbortSignal.abort() }));
  const socket = connect(Number(new URL(listener.address).port), '127.0.0.1').setEncoding('latin1');
  socket.on('error', () => {}); // What it writes after its end is refused.
  socket.write('GET /v2/ HTTP/1.1\r\nHost: mirror.test\r\n');
  const dribbling = setInterval(() => socket.write('X: y\r\n'), 20);
  onTestFinished(() => clearInterval(dribbling));
  let told = '';
  socket.on('data', (text: string) => (told += text));
  await once(socket, 'close');
  expect(told).toMatch(/^HTTP\/1\.1 408 /);
});
