import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { dataSchemas, envelope } from '../../src/events/event.ts';
import { maxListeners } from '../../src/events/event-streams.ts';
import { eventTypes } from '../../src/config/sections/events.ts';
import { askApi } from '../support/api-answers.ts';
import { ask, open } from '../support/client.ts';
import { listen, type StreamedEvent } from '../support/event-listener.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { blobFile } from '../support/store-on-disk.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

const repository = 'library/app';
const named = `docker.io/${repository}`;
const [one, two] = [image({ name: 'one' }), image({ name: 'two' })];
const fiveMinutes = 5 * 60_000;

async function pulled() {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', one);
  const app = await startApp(mirrorOf(upstream));
  return { upstream, app };
}

/** @throws when it is not as docs/events.md says. */
function checked(event: StreamedEvent): StreamedEvent {
  envelope.parse(event.event);
  const type = eventTypes.find((each) => each === event.type) ?? 'io.layerwell.events.dropped';
  dataSchemas[type].parse(event.data);
  return event;
}

test('a listener hears of an image that is pulled for the first time, and not of one that is cached', async () => {
  const { app, upstream } = await pulled();
  const listener = await listen(app);
  expect(listener.answer.headers).toMatchObject({ 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  await pullAll(app, repository, '1');
  const stored = checked(await listener.next());
  expect(stored).toMatchObject({
    type: 'io.layerwell.image.stored',
    subject: named,
    data: { repository: named, digest: one.manifest.digest, size: one.manifest.bytes.length },
    event: { specversion: '1.0', time: new Date(app.clock.now()).toISOString() },
  });

  await pullAll(app, repository, '1');
  upstream.content.add(repository, '2', one); // Another tag of the same image.
  await pullAll(app, repository, '2');
  upstream.content.add(repository, '1', two);
  app.clock.advance(fiveMinutes);
  await pullAll(app, repository, '1');
  const [first, second] = [checked(await listener.next()), checked(await listener.next())];
  expect(first).toMatchObject({
    type: 'io.layerwell.tag.moved',
    subject: named,
    data: { repository: named, tag: '1', from: one.manifest.digest, to: two.manifest.digest },
  });
  expect(second).toMatchObject({ type: 'io.layerwell.image.stored', data: { digest: two.manifest.digest } });
});

test('a listener that comes back gets what it missed, once', async () => {
  const { app, upstream } = await pulled();
  const listener = await listen(app);
  await pullAll(app, repository, '1');
  const { id } = await listener.next();
  listener.answer.hangUp();
  upstream.content.add(repository, '3', two);
  await pullAll(app, repository, '3');

  const again = await listen(app, { headers: { 'last-event-id': id } });
  expect((await again.next()).data['digest']).toBe(two.manifest.digest);
  const unknown = await listen(app, { headers: { 'last-event-id': 'long ago' } });
  expect((await unknown.next()).id).toBe(id);
});

test('a mirror that stops ends its listeners, and is not kept by them', async () => {
  const { app } = await pulled();
  const listener = await listen(app);
  await app.stop();
  expect((await listener.answer.rest()).toString()).toBe('retry: 3000\n\n'); // Throws if it was cut.
});

test('a mirror has so many listeners and no more; one that leaves makes room', async () => {
  const { app } = await pulled();
  const listeners = await Promise.all(Array.from({ length: maxListeners }, () => listen(app)));
  const management = { url: app.managementUrl };
  const refused = await ask(management, '/api/v1/events');
  expect(refused.status).toBe(503);
  expect(refused.headers).toMatchObject({ 'retry-after': '5', 'content-type': 'application/problem+json' });
  expect((await ask(management, '/api/v1/stats')).status).toBe(200);

  listeners[0]?.answer.hangUp();
  let status = 503;
  while (status === 503) {
    const answer = await open(management, '/api/v1/events');
    ({ status } = answer);
    answer.hangUp();
  }
  expect(status).toBe(200);
});

test('the events are guarded as everything else that is read', async () => {
  const { app } = await pulled();
  const management = { url: app.managementUrl };
  const headers = { 'sec-fetch-site': 'cross-site' };
  expect((await ask(management, '/api/v1/events', { headers })).status).toBe(403);
  expect((await ask(management, '/api/v1/events', { headers: { host: 'rebound.test' } })).status).toBe(403);
  // A HEAD takes no place of a listener.
  for (let asked = 0; asked <= maxListeners; asked += 1)
    expect((await ask(management, '/api/v1/events', { method: 'HEAD' })).status).toBe(200);
});

test('what is purged is one event, with the image and its tag', async () => {
  const { upstream } = await pulled();
  const tokenFile = join(await temporaryDirectory(), 'token');
  await writeFile(tokenFile, 'a'.repeat(32));
  const management = { host: '127.0.0.1', port: 0, tokenFile };
  const app = await startApp(mirrorOf(upstream, { management }), { eventWait: async () => {} });
  const { parts } = await pullAll(app, repository, '1');
  await app.quiet();
  const listener = await listen(app);
  const body = JSON.stringify({ repository: named, tag: '1' });
  const headers = { 'content-type': 'application/json' };
  await askApi(app, '/api/v1/purge', { method: 'POST', token: 'a'.repeat(32), headers, body });
  const seen: StreamedEvent[] = [];
  const blobs = () => seen.reduce((sum, { data }) => sum + Number(data['blobs']), 0);
  while (blobs() < parts.size - 1) seen.push(checked(await listener.nextOf('content.evicted')));
  expect(seen[0]).toMatchObject({
    subject: 'store',
    data: { reason: 'purge', manifests: 1, images: [`${named}@${one.manifest.digest}`], isComplete: true },
  });
});

test('a damaged blob that is found is an event', async () => {
  const { app } = await pulled();
  await pullAll(app, repository, '1');
  await app.quiet();
  const listener = await listen(app);
  const digest = one.blobs[0]?.digest ?? one.manifest.digest;
  await truncate(blobFile(app.dataDirectory, digest), 10);
  await ask(app, `/v2/${repository}/blobs/${digest}`);
  expect(checked(await listener.nextOf('content.quarantined'))).toMatchObject({
    subject: digest,
    data: { digest, source: 'read' },
  });
});

test('an upstream that dies and comes back is told once each, and a low rate limit too', async () => {
  const { app, upstream } = await pulled();
  const listener = await listen(app);
  upstream.script({}, { dropConnection: true });
  for (const tag of ['a', 'b', 'c', 'd', 'e']) await ask(app, `/v2/${repository}/manifests/${tag}`);
  const down = checked(await listener.next());
  expect(down).toMatchObject({ type: 'io.layerwell.upstream.down', subject: 'docker.io' });
  expect(down.data).toEqual({ upstream: 'docker.io', endpoint: 'registry' });

  upstream.clearScripts();
  upstream.content.manifestHeaders = { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '9;w=21600' };
  app.clock.advance(10_000);
  while ((await ask(app, `/v2/${repository}/manifests/1`)).status !== 200);
  expect(checked(await listener.next())).toMatchObject({ type: 'io.layerwell.upstream.up', data: down.data });
  expect(checked(await listener.next())).toMatchObject({
    type: 'io.layerwell.upstream.rate_limit_low',
    data: { upstream: 'docker.io', account: 'anonymous', limit: 100, remaining: 9, windowSeconds: 21_600 },
  });
});
