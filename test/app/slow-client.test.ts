import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, test } from 'vitest';
import { ask, open } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { startHolding } from '../support/held-blob.ts';
import { randomBlob } from '../support/images.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const blobs = /\/blobs\//;
/** More than what the sockets and the mirror's own buffers between a client and the file can hold. */
const size = 24_000_000;

test('a client that does not read delays neither the download nor another client', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(size);
  upstream.content.addBlob(repository, blob);
  const app = await startApp(mirrorOf(upstream));
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  const slow = await open(app, path);
  slow.pause();
  const fast = await ask(app, path);
  expect(fast.body.equals(blob.bytes)).toBe(true);
  expect(await upstream.seen('GET', blobs)[0]?.ended).toBe('complete');
  await app.quiet();
  expect((await ask(app, path)).cache).toBe('hit');
  expect((await slow.rest()).equals(blob.bytes)).toBe(true);
  expect(upstream.count('GET', blobs)).toBe(1);
});

test('a client that reads a stored blob slowly does not delay another', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(size);
  upstream.content.addBlob(repository, blob);
  const app = await startApp(mirrorOf(upstream));
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  await ask(app, path);
  await app.quiet();
  const slow = await open(app, path);
  slow.pause();
  expect((await ask(app, path)).body.equals(blob.bytes)).toBe(true);
  expect((await slow.rest()).equals(blob.bytes)).toBe(true);
});

test('a client that reads nothing for too long is cut, and others are not', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(size);
  upstream.content.addBlob(repository, blob);
  const app = await startApp(mirrorOf(upstream, { clients: { idleTimeout: '1s' } }));
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  const asleep = await open(app, path);
  asleep.pause();
  await expect.poll(async () => (await app.metrics()).sum('layerwell_http_client_aborts_total')).toBe(1);
  await expect(asleep.rest()).rejects.toThrow('cut');
  expect((await app.metrics()).sum('layerwell_http_rejected_total', { reason: 'slow_client' })).toBe(1);
  expect((await ask(app, path)).body.equals(blob.bytes)).toBe(true);
});

test('a client that waits for the upstream is not cut for reading nothing', async () => {
  const {
    app,
    blob,
    path,
    held: rest,
  } = await startHolding(300_000, { bytes: 100_000 }, { clients: { idleTimeout: '1s' } });
  const waiting = await open(app, path);
  const beginning = await waiting.read(100_000);
  // A connection that begins to be idle now is cut by then.
  const idle = connect(Number(new URL(app.url).port), '127.0.0.1');
  await once(idle, 'close');
  rest.open();
  expect(Buffer.concat([beginning, await waiting.rest()]).equals(blob.bytes)).toBe(true);
});
