import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { open } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { type Gate, gate } from '../support/gate.ts';
import { type Content, image, randomBlob } from '../support/images.ts';
import { get } from '../support/pull.ts';
import { mirrorOf, type RunningMirror, startMirror } from '../support/start-mirror.ts';
import { storeOnDisk } from '../support/store-on-disk.ts';

const repository = 'library/app';
const built = image({ layerBytes: 500_000 });
const layer: Content = built.blobs[1] ?? built.manifest;
const path = `/v2/${repository}/blobs/${layer.digest}`;
const exitedInPeace = { code: 0, signal: null };
/** So long that no test sees it pass. */
const longDrain = { drain: '1h' };

interface Held {
  readonly mirror: RunningMirror;
  readonly upstream: FakeRegistry;
  /** Lets the rest of the layer come. */
  readonly rest: Gate;
}

/** A mirror whose upstream stops in the middle of every layer, until the test lets it continue. */
async function started(shutdown: object): Promise<Held> {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', built);
  const rest = gate();
  upstream.script({ path: /blobs/ }, { holdBody: { afterBytes: 200_000, until: rest } });
  return { upstream, rest, mirror: await startMirror(mirrorOf(upstream, { shutdown })) };
}

async function sendTerm(mirror: RunningMirror): Promise<void> {
  mirror.send('SIGTERM');
  await mirror.logged(({ msg }) => msg === 'draining');
}

test('after SIGTERM a mirror is not ready, accepts no new connections, and finishes and stores running downloads', async () => {
  const { mirror, rest } = await started(longDrain);
  expect(await get({ url: mirror.managementUrl }, '/readyz')).toMatchObject({ status: 200 });
  const pull = await open(mirror, path);
  await pull.read(100_000);

  await sendTerm(mirror);
  expect(await get({ url: mirror.managementUrl }, '/readyz')).toMatchObject({ status: 503 });
  expect(await get({ url: mirror.managementUrl }, '/healthz')).toMatchObject({ status: 200 });
  await expect(open(mirror, path)).rejects.toThrow('ECONNREFUSED');

  rest.open();
  const received = await pull.rest();
  expect(received.equals(layer.bytes.subarray(-received.length))).toBe(true);
  expect(await mirror.exited).toEqual(exitedInPeace);
  const { blobs, incoming } = await storeOnDisk(mirror.dataDirectory);
  expect(blobs.get(layer.digest)).toEqual({ size: layer.bytes.length, isWhole: true });
  expect(incoming).toEqual([]);
});

test('requests that still run at the deadline are cut, and the mirror exits with 0', async () => {
  const { mirror } = await started({ drain: '200ms' });
  const pull = await open(mirror, path);
  await pull.read(100_000);
  mirror.send('SIGTERM');
  await expect(pull.rest()).rejects.toThrow('cut');
  expect(await mirror.exited).toEqual(exitedInPeace);
  expect((await storeOnDisk(mirror.dataDirectory)).blobs.has(layer.digest)).toBe(false);
});

test.each([
  { when: 'while it drains', shutdown: longDrain },
  { when: 'before it begins to', shutdown: { preStop: '1h', drain: '1h' } },
])('a second SIGTERM $when ends the mirror at once', async ({ shutdown }) => {
  const { mirror } = await started(shutdown);
  const pull = await open(mirror, path);
  await pull.read(100_000);
  await sendTerm(mirror);
  mirror.send('SIGTERM');
  await expect(pull.rest()).rejects.toThrow('cut');
  expect(await mirror.exited).toEqual(exitedInPeace);
});

test('during preStop a mirror serves as usual, but is not ready', async () => {
  const { mirror, rest } = await started({ preStop: '1h' });
  rest.open();
  await sendTerm(mirror);
  expect(await get({ url: mirror.managementUrl }, '/readyz')).toMatchObject({ status: 503 });
  expect((await get(mirror, path)).bytes.equals(layer.bytes)).toBe(true);
  mirror.send('SIGTERM');
  expect(await mirror.exited).toEqual(exitedInPeace);
});

test('during preStop each answer ends its connection, so that no client keeps one that is about to be closed', async () => {
  const { mirror, rest } = await started({ preStop: '1h' });
  rest.open();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(() => agent.destroy());
  /** What its answer says of the connection, and whether the connection was used before. */
  const pulled = async () => {
    const asked = request(`${mirror.url}${path}`, { agent });
    const { promise: answered, resolve } = Promise.withResolvers<IncomingMessage>();
    asked.once('response', resolve).end();
    const answer = await answered;
    await once(answer.resume(), 'close');
    return { connection: answer.headers.connection, isReused: asked.reusedSocket };
  };
  expect(await pulled()).toMatchObject({ connection: 'keep-alive' });
  await sendTerm(mirror);
  expect(await pulled()).toEqual({ connection: 'close', isReused: true });
  expect(await pulled()).toEqual({ connection: 'close', isReused: false });
  mirror.send('SIGTERM');
  expect(await mirror.exited).toEqual(exitedInPeace);
});

/** How a connection ended that was not read before: `ECONNRESET`, or `end` when the rest of what was sent came first. */
async function endOf(socket: Socket): Promise<string> {
  const ended = Promise.withResolvers<string>();
  socket.on('end', () => ended.resolve('end'));
  socket.on('error', (error) => ended.resolve('code' in error ? String(error.code) : error.message));
  socket.resume();
  return ended.promise;
}

test('a client that does not read is reset at the deadline, and cannot keep its connection in the kernel', async () => {
  const upstream = await startFakeRegistry();
  const large = randomBlob(24_000_000);
  upstream.content.addBlob(repository, large);
  const mirror = await startMirror(mirrorOf(upstream, { shutdown: { drain: '200ms' } }));
  const client = await silentConnection(mirror);
  client.pause();
  client.write(`GET /v2/${repository}/blobs/${large.digest} HTTP/1.1\r\nHost: mirror\r\n\r\n`);
  await once(client, 'readable');
  mirror.send('SIGTERM');
  expect(await mirror.exited).toEqual(exitedInPeace);
  expect(await endOf(client)).toBe('ECONNRESET');
});

/** http.Server keepAliveTimeout: so long it would wait for an idle connection. */
const nodeClosesIdleAfterMs = 5_000;

/** A connection that says nothing, as clients open them in reserve. */
async function silentConnection(mirror: RunningMirror): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(mirror.url).port) });
  onTestFinished(() => void socket.destroy());
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** A client that keeps its connections. @returns the status of each answer that it has read to the end. */
function keepingClient({ url }: RunningMirror): (asked: string) => Promise<number | undefined> {
  const agent = new Agent({ keepAlive: true });
  onTestFinished(() => agent.destroy());
  return async (asked) => {
    const question = request(`${url}${asked}`, { agent });
    question.end();
    const [answer] = await once(question, 'response');
    answer.resume();
    await once(answer, 'end');
    return answer.statusCode;
  };
}

test('idle connections do not delay shutdown, used before or not, nor do those whose response has just ended', async () => {
  const { mirror, upstream, rest } = await started(longDrain);
  const [used, busy] = [keepingClient(mirror), keepingClient(mirror)];
  await silentConnection(mirror);
  expect(await used('/v2/')).toBe(200);
  const last = busy(path);
  await upstream.arrived('GET', /blobs/);
  await sendTerm(mirror);
  rest.open();
  expect(await last).toBe(200);
  const answeredAt = performance.now();
  expect(await mirror.exited).toEqual(exitedInPeace);
  expect(performance.now() - answeredAt).toBeLessThan(nodeClosesIdleAfterMs);
});
