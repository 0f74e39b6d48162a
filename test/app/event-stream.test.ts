import { expect, test } from 'vitest';
import { dataSchemas, envelope } from '../../src/events/event.ts';
import { maxListeners } from '../../src/events/event-streams.ts';
import { eventTypes } from '../../src/config/sections/events.ts';
import { ask, open } from '../support/client.ts';
import { listen, type StreamedEvent } from '../support/event-listener.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

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
