import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { onTestFinished, expect, test } from 'vitest';
import { ask, caughtUp, open } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { startHolding } from '../support/held-blob.ts';
import { randomBlob } from '../support/images.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const blobs = /\/blobs\//;
const rejected = 'layerwell_http_rejected_total';

test('above the limit of requests clients get an OCI error at once, with Retry-After', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(1_000);
  upstream.content.addBlob(repository, blob);
  const answering = gate();
  upstream.script({ path: blobs }, { holdHeaders: answering });
  const app = await startApp(mirrorOf(upstream, { clients: { maxRequests: 1 } }));
  const running = ask(app, `/v2/${repository}/blobs/${blob.digest}`);
  await upstream.arrived('GET', blobs);

  const refused = await ask(app, '/v2/');
  expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': '2' } });
  expect(JSON.parse(refused.body.toString())).toMatchObject({ errors: [{ code: 'UNAVAILABLE' }] });
  expect((await app.metrics()).sum(rejected, { reason: 'requests' })).toBe(1);

  answering.open();
  expect((await running).status).toBe(200);
  expect((await ask(app, '/v2/')).status).toBe(200);
});

test('the management listener answers however many clients there are', async () => {
  const upstream = await startFakeRegistry();
  upstream.script({ path: blobs }, { holdHeaders: gate() });
  const app = await startApp(mirrorOf(upstream, { clients: { maxRequests: 1 } }));
  const waiting = ask(app, `/v2/${repository}/blobs/${randomBlob(10).digest}`).catch(() => 'cut');
  await upstream.arrived('GET', blobs);
  expect((await ask(app, '/v2/')).status).toBe(503);
  const told = ['/healthz', '/readyz', '/metrics'].map((path) => ask({ url: app.managementUrl }, path));
  expect((await Promise.all(told)).map(({ status }) => status)).toEqual([200, 200, 200]);
  await app.stop(0);
  expect(await waiting).toBe('cut');
});

test('800 silent connections to the management listener are not all kept, and keep no probe waiting', async () => {
  const app = await startApp(mirrorOf(await startFakeRegistry()));
  const silent: Socket[] = [];
  for (let count = 0; count < 800; count += 1) silent.push(await connected({ host: new URL(app.managementUrl).host }));
  const open = () => silent.filter((socket) => !socket.destroyed).length;
  await expect.poll(open).toBeLessThanOrEqual(768);
  expect((await ask({ url: app.managementUrl }, '/healthz')).status).toBe(200);
  expect((await app.metrics()).sum('layerwell_management_rejected_total', { reason: 'connections' })).toBe(0);
});

test('an aborted request makes room for the next', async () => {
  const upstream = await startFakeRegistry();
  upstream.script({ path: blobs }, { holdHeaders: gate() });
  const app = await startApp(mirrorOf(upstream, { clients: { maxRequests: 1 } }));
  const leaving = new AbortController();
  const { signal } = leaving;
  const waiting = fetch(`${app.url}/v2/${repository}/blobs/${randomBlob(10).digest}`, { signal });
  await upstream.arrived('GET', blobs);
  leaving.abort();
  await expect(waiting).rejects.toThrow('aborted');
  await expect.poll(async () => (await ask(app, '/v2/')).status).toBe(200);
});

test('an aborted pipelined request makes room for the next, too', async () => {
  const upstream = await startFakeRegistry();
  const [cached, ...held] = ['cached', 'first', 'second'].map((name) => randomBlob(70_000, name));
  const at = (digest = '') => `/v2/${repository}/blobs/${digest}`;
  if (cached) upstream.content.addBlob(repository, cached);
  const app = await startApp(mirrorOf(upstream, { clients: { maxRequests: 2 } }));
  await ask(app, at(cached?.digest));
  await app.quiet();
  upstream.script({ path: blobs }, { holdHeaders: gate() });
  const [first, second] = held.map(({ digest }) => at(digest));
  const socket = await connected(app);
  const requests = [first, at(cached?.digest)].map((path) => `GET ${path} HTTP/1.1\r\nHost: mirror\r\n\r\n`);
  socket.write(requests.join(''));
  await upstream.arrived('GET', blobs, 2);
  await caughtUp(app);
  socket.destroy();
  await expect.poll(async () => (await ask(app, '/v2/')).status).toBe(200);

  const waiting = ask(app, second ?? '').catch(() => 'cut');
  await upstream.arrived('GET', blobs, 3);
  expect((await ask(app, '/v2/')).status).toBe(200);
  await app.stop(0);
  expect(await waiting).toBe('cut');
});

test('a client that sends thousands of requests on one connection and reads nothing uses up no request limit that others need', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(1_000_000, 'cached');
  upstream.content.addBlob(repository, blob);
  const app = await startApp(mirrorOf(upstream, { clients: { maxRequests: 4 } }));
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  await ask(app, path);
  await app.quiet();
  const [greedy, tooGreedy] = [await connected(app), await connected(app)];
  for (const client of [greedy, tooGreedy]) client.on('error', () => {}); // A reset.
  greedy.write(`GET ${path} HTTP/1.1\r\nHost: mirror\r\n\r\n`.repeat(33));
  tooGreedy.write(`GET ${path} HTTP/1.1\r\nHost: mirror\r\n\r\n`.repeat(4_100));
  await expect.poll(() => tooGreedy.destroyed).toBe(true);
  for (let pull = 0; pull < 10; pull += 1) expect((await ask(app, path)).body.equals(blob.bytes)).toBe(true);
  // The one that is closed.
  expect((await app.metrics()).sum(rejected)).toBe(1);
});

/** A connection that sends nothing. */
async function connected({ host }: Pick<RunningApp, 'host'>): Promise<Socket> {
  const [name, port] = host.split(':');
  const socket = connect(Number(port), name);
  onTestFinished(() => {
    socket.destroy();
  });
  await once(socket, 'connect');
  return socket;
}

test('above the limit of connections new ones get 503 with Retry-After, and existing ones continue', async () => {
  const {
    app,
    blob,
    path,
    held: half,
  } = await startHolding(1_000_000, { bytes: 500_000 }, { clients: { maxConnections: 2 } });
  const pulling = await open(app, path);
  await connected(app);
  const refused = await ask(app, '/v2/');
  expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': '2', connection: 'close' } });
  expect(JSON.parse(refused.body.toString())).toMatchObject({ errors: [{ code: 'UNAVAILABLE' }] });
  half.open();
  expect((await pulling.rest()).equals(blob.bytes)).toBe(true);
  expect((await app.metrics()).sum(rejected, { reason: 'connections' })).toBe(1);
});

test('connections far above the limit are closed at once', async () => {
  const upstream = await startFakeRegistry();
  const app = await startApp(mirrorOf(upstream, { clients: { maxConnections: 2 } }));
  const [told] = await Promise.all(Array.from({ length: 102 }, () => connected(app)));
  const dropped = await connected(app);
  await once(dropped, 'close');
  expect((await app.metrics()).sum(rejected, { reason: 'connections' })).toBe(1);
  told?.destroy();
});

test('a thousand downloads wait for a slot; the next gets 503 with Retry-After', async () => {
  const upstream = await startFakeRegistry();
  const answering = gate();
  upstream.script({ path: blobs }, { holdHeaders: answering });
  const config = { download: { maxConcurrent: 1 }, clients: { maxRequests: 2_100 } };
  // They are answered one after another: on a slow machine that takes longer than a client may wait.
  const app = await startApp(mirrorOf(upstream, config), { requestDeadlineMs: 120_000 });
  const pull = (index: number) => ask(app, `/v2/${repository}/blobs/${randomBlob(10, `blob ${index}`).digest}`);
  const first = pull(0);
  await upstream.arrived('GET', blobs);
  const crowd = Array.from({ length: 1_001 }, (_, index) => pull(index + 1));
  const refused = await Promise.race(crowd);
  expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': '5' } });
  expect(upstream.count('GET', blobs)).toBe(1);
  answering.open();
  const answers = await Promise.all([first, ...crowd]);
  expect(answers.filter(({ status }) => status === 404)).toHaveLength(1_001);
});

test('no more blobs are downloaded at the same time than allowed; the others wait, and all are served', async () => {
  const upstream = await startFakeRegistry();
  const wanted = Array.from({ length: 6 }, (_, index) => randomBlob(100_000, `blob ${index}`));
  for (const blob of wanted) upstream.content.addBlob(repository, blob);
  const answering = gate();
  upstream.script({ path: blobs }, { holdHeaders: answering });
  const app = await startApp(mirrorOf(upstream, { download: { maxConcurrent: 2 } }));
  const pulls = wanted.map(({ digest }) => ask(app, `/v2/${repository}/blobs/${digest}`));
  await upstream.arrived('GET', blobs, 2);
  await ask(app, '/v2/');
  expect(upstream.count('GET', blobs)).toBe(2);
  answering.open();
  for (const [index, answer] of (await Promise.all(pulls)).entries()) {
    expect(answer.body.equals(wanted[index]?.bytes ?? Buffer.alloc(0))).toBe(true);
  }
});
