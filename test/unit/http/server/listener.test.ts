import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { get } from 'node:https';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import Koa from 'koa';
import { expect, onTestFinished, test } from 'vitest';
import { Certificate } from '../../../../src/http/server/certificate.ts';
import { Connections } from '../../../../src/http/server/connections.ts';
import { hostInsteadOf, Listener, type ListenOptions } from '../../../../src/http/server/listener.ts';
import { freePort } from '../../../support/free-port.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';
import { selfSigned } from '../../upstream/certificates.ts';

const failed = (code: string): Error => Object.assign(new Error(`listen ${code}`), { code });

test.each([
  { host: '::', code: 'EAFNOSUPPORT', other: '0.0.0.0' },
  { host: '::', code: 'EADDRNOTAVAIL', other: '0.0.0.0' },
  { host: '::', code: 'EADDRINUSE', other: undefined },
  { host: '::', code: 'EACCES', other: undefined },
  { host: '::1', code: 'EAFNOSUPPORT', other: undefined },
  { host: '192.0.2.1', code: 'EADDRNOTAVAIL', other: undefined },
])('when $host cannot be bound because of $code, the listener uses $other', ({ host, code, other }) => {
  expect(hostInsteadOf(host, failed(code))).toBe(other);
});

const local = { name: 'listener', host: '127.0.0.1', port: 0, idleTimeoutMs: 60_000 };

/** Listens for this test. */
async function listening(options: Partial<ListenOptions>, app = new Koa()): Promise<Listener> {
  const listener = new Listener(app, { ...local, ...options });
  await listener.start();
  onTestFinished(() => listener.stop({ signal: AbortSignal.abort() }));
  return listener;
}

/** A connection that says nothing. @returns it, once it stands. */
async function connectedTo(listener: Listener): Promise<Socket> {
  const socket = connect(Number(new URL(listener.address).port), '127.0.0.1');
  socket.on('error', () => {}); // A reset is an end as well.
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

async function certificate(): Promise<Certificate> {
  const { certificate: cert, key } = await selfSigned('mirror.test');
  const folder = await temporaryDirectory();
  const files = { certFile: join(folder, 'tls.crt'), keyFile: join(folder, 'tls.key') };
  await writeFile(files.certFile, cert);
  await writeFile(files.keyFile, key);
  return new Certificate(files, { report: () => {} });
}

test.each([
  { what: 'stay silent', say: '' },
  { what: 'stop in the middle of the handshake', say: Buffer.from('160301020001', 'hex') },
  { what: 'do not speak TLS', say: 'GET /v2/ HTTP/1.1\r\nHost: mirror\r\n\r\n' },
])('clients that $what on a TLS port are cut, and others are served', async ({ say }) => {
  const limits = { connections: new Connections({ max: 1 }), headersTimeoutMs: 300 };
  const listener = await listening({ certificate: await certificate(), ...limits });
  const silent = await Promise.all(Array.from({ length: 101 }, () => connectedTo(listener)));
  const ends = silent.map((socket) => once(socket.resume(), 'close'));
  for (const socket of silent) if (say.length > 0) socket.write(say);
  await Promise.all(ends);
  const served = get(`${listener.address}/v2/`, { agent: false, rejectUnauthorized: false });
  const [answer]: { statusCode?: number }[] = await once(served, 'response');
  expect(answer?.statusCode).toBe(404);
  served.destroy();
});

test('a client that ends its side and reads nothing of a large response is cut after the idle timeout', async () => {
  const app = new Koa();
  const closed = Promise.withResolvers<boolean>();
  app.use((ctx) => {
    ctx.res.once('close', () => closed.resolve(ctx.res.writableFinished));
    ctx.body = Buffer.alloc(64_000_000);
  });
  const listener = await listening({ idleTimeoutMs: 300 }, app);
  const socket = await connectedTo(listener);
  socket.end('GET /v2/ HTTP/1.1\r\nHost: mirror.test\r\n\r\n');
  expect(await closed.promise).toBe(false);
});

/** A client that reads nothing of the answer until it is resumed. */
async function askedOverTls(listener: Listener): Promise<Socket> {
  const socket = connectTls({ socket: await connectedTo(listener), rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  socket.pause().write(question);
  return socket;
}

async function askedInPlain(listener: Listener): Promise<Socket> {
  const socket = await connectedTo(listener);
  socket.pause().write(question);
  return socket;
}

const question = 'GET /v2/ HTTP/1.1\r\nHost: mirror.test\r\n\r\n';

test.each([
  { over: 'HTTP', certificates: async () => undefined, asked: askedInPlain },
  { over: 'HTTPS', certificates: certificate, asked: askedOverTls },
])(
  'a client that reads nothing over $over is reset after the idle timeout, and does not stay in the kernel',
  async ({ certificates, asked }) => {
    const closed = Promise.withResolvers<void>();
    const app = new Koa().use((ctx) => {
      ctx.res.once('close', closed.resolve);
      ctx.body = Buffer.alloc(64_000_000);
    });
    const listener = await listening({ idleTimeoutMs: 300, certificate: await certificates() }, app);
    const socket = await asked(listener);
    const ended = new Promise((resolve) => socket.once('end', () => resolve('end')).once('error', resolve));
    await closed.promise;
    socket.resume();
    expect(await ended).toMatchObject({ code: 'ECONNRESET' });
  },
);

test('of two TLS connections from one address and port, only the one that reads nothing is reset', async () => {
  const [waits, large] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const app = new Koa().use(async (ctx) => {
    if (ctx.path !== '/large') return waits.promise;
    large.resolve();
    ctx.body = Buffer.alloc(64_000_000);
    return undefined;
  });
  const listener = await listening({ host: '0.0.0.0', idleTimeoutMs: 300, certificate: await certificate() }, app);
  const port = Number(new URL(listener.address).port);
  const localPort = await freePort();
  const connectFrom = async (host: string, path: string) => {
    const below = connect({ host, port, localAddress: '127.0.0.9', localPort });
    const socket = connectTls({ socket: below, rejectUnauthorized: false });
    const ended = new Promise((resolve) => socket.once('close', resolve).once('error', resolve));
    onTestFinished(() => void socket.destroy());
    await once(socket, 'secureConnect');
    socket.pause().write(`GET ${path} HTTP/1.1\r\nHost: mirror.test\r\n\r\n`);
    return { socket, ended };
  };
  const waiting = await connectFrom('127.0.0.2', '/');
  const slow = await connectFrom('127.0.0.1', '/large');
  await large.promise;
  await expect.poll(() => listener.openConnections, { timeout: 10_000 }).toBe(1);
  waits.resolve();
  const answered = once(waiting.socket, 'data');
  waiting.socket.resume();
  slow.socket.resume();
  expect(await slow.ended).toMatchObject({ code: 'ECONNRESET' });
  expect(String(await answered)).toContain('404 Not Found');
});

test('a client that trickles its headers gets an error and is cut, whatever it sends', async () => {
  const listener = await listening({ headersTimeoutMs: 200 });
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

test('a client may leave its connection idle for two minutes, longer than clients and load balancers do', async () => {
  const app = new Koa().use((context) => {
    context.body = 'answer';
  });
  const listener = await listening({}, app);
  const answer = await fetch(listener.address);
  expect(answer.headers.get('keep-alive')).toBe('timeout=120');
});
