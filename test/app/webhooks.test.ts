import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { envelope } from '../../src/events/event.ts';
import { gatheredForMs } from '../../src/events/evicted-content.ts';
import { ask } from '../support/client.ts';
import { listen } from '../support/event-listener.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image } from '../support/images.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { type Replaced, type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf, startMirror } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import {
  isSignedWith,
  type Received,
  startWebhookReceiver,
  type WebhookReceiver,
} from '../support/webhook-receiver.ts';

const secret = Buffer.alloc(32, 1).toString('base64');
const otherSecret = Buffer.alloc(32, 2).toString('base64');
const hour = 3_600_000;

/** A mirror that tells these receivers of images and tags. */
async function telling(receivers: readonly WebhookReceiver[], replaced: Replaced = {}) {
  const upstream = await startFakeRegistry();
  const app = await startApp(mirrorOf(upstream, eventsTo(receivers)), replaced);
  return { upstream, app };
}

function eventsTo(receivers: readonly WebhookReceiver[], more: object = {}) {
  const webhooks = receivers.map(({ url }, place) => ({ name: `hook-${place + 1}`, url, secret: `whsec_${secret}` }));
  return { events: { webhooks, ...more } };
}

/** Pulls images that the mirror does not have: each is one event. */
async function pullNew({ upstream, app }: { upstream: FakeRegistry; app: RunningApp }, names: readonly string[]) {
  const listener = await listen(app);
  for (const name of names) {
    upstream.content.add('library/app', name, image({ name }));
    await ask(app, `/v2/library/app/manifests/${name}`);
    await listener.nextOf('image.stored');
  }
  listener.answer.hangUp();
}

const digestOf = (name: string) => image({ name }).manifest.digest;
const digestsIn = (received: readonly Received[]) => received.map(({ event }) => Object(event['data']).digest);
const named = (count: number, prefix = 'v') => Array.from({ length: count }, (_, number) => `${prefix}${number}`);

/** Time passes when a webhook waits, but only once the gate is open. */
function passing(opened: Promise<void>, clock: ManualClock): Replaced['eventWait'] {
  return async (ms, { signal }) => {
    const ended = new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    ended.catch(() => {});
    await Promise.race([ms === gatheredForMs ? ended : opened, ended]);
    clock.advance(ms);
  };
}

test('a webhook gets a CloudEvent, signed as Standard Webhooks says with each secret of that moment', async () => {
  const receiver = await startWebhookReceiver();
  const upstream = await startFakeRegistry();
  const folder = await temporaryDirectory();
  const [secretFile, previousSecretFile] = [join(folder, 'secret'), join(folder, 'previous')];
  await writeFile(secretFile, `whsec_${otherSecret}\n`);
  await writeFile(previousSecretFile, secret);
  const { url } = receiver;
  const webhooks = [{ name: 'hook', url, secretFile, previousSecretFile, types: ['io.layerwell.image.stored'] }];
  const app = await startApp(mirrorOf(upstream, { events: { source: 'https://mirror.test/one', webhooks } }));
  await pullNew({ upstream, app }, ['one']);
  await receiver.took(1);

  const [first] = receiver.taken;
  expect(first).toMatchObject({
    method: 'POST',
    path: '/hook?key=1',
    headers: { 'content-type': 'application/cloudevents+json', 'user-agent': 'layerwell/test' },
    event: { source: 'https://mirror.test/one', type: 'io.layerwell.image.stored' },
  });
  const event = envelope.parse(first?.event);
  expect(first?.headers).toMatchObject({
    'webhook-id': event.id,
    'webhook-timestamp': String(app.clock.now() / 1_000),
  });
  expect([secret, otherSecret].map((each) => first && isSignedWith(each, first))).toEqual([true, true]);

  const third = Buffer.alloc(32, 3).toString('base64');
  await writeFile(secretFile, third);
  await pullNew({ upstream, app }, ['two']);
  await receiver.took(2);
  const second = receiver.taken[1];
  expect([third, otherSecret].map((each) => second && isSignedWith(each, second))).toEqual([true, false]);
});

test('a webhook that is down for an hour gets every event of it in order, none twice without the same id', async () => {
  const receiver = await startWebhookReceiver();
  const [clock, told] = [new ManualClock(), gate()];
  const mirror = await telling([receiver], { clock, eventWait: passing(told.opened, clock) });
  const faults: readonly WebhookReceiver['answer'][] = [
    () => 503,
    () => 404,
    (_, response) => void response.socket?.resetAndDestroy(),
    (_, response) => void response.writeHead(429, { 'retry-after': '60' }).end(),
    (_, response) => void response.socket?.end('HTTP/1.1 nonsense\r\n\r\n'),
  ];
  receiver.answer = (received, response) => {
    if (clock.monotonicMs() >= hour) return 204;
    return faults[receiver.received.length % faults.length]?.(received, response);
  };
  const names = named(30);
  await pullNew(mirror, names);
  expect(receiver.taken).toEqual([]);
  told.open();
  await receiver.took(names.length);

  expect(clock.monotonicMs()).toBeGreaterThanOrEqual(hour);
  expect(digestsIn(receiver.taken)).toEqual(names.map(digestOf));
  const ids = receiver.received.map(({ headers }) => headers['webhook-id']);
  expect(ids.length).toBeGreaterThan(names.length + 5);
  expect(new Set(ids).size).toBe(names.length);
  for (const { headers, event } of receiver.received) expect(event['id']).toBe(headers['webhook-id']);
  const metrics = await mirror.app.metrics();
  const deliveries = (result: string) =>
    metrics.sum('layerwell_webhook_deliveries_total', { webhook: 'hook-1', result });
  expect(deliveries('delivered')).toBe(names.length);
  expect(deliveries('failed')).toBe(ids.length - names.length);
  expect(metrics.sum('layerwell_events_dropped_total')).toBe(0);
});

test('of two webhooks, one that is dead does not delay the other', async () => {
  const [dead, alive] = [await startWebhookReceiver(), await startWebhookReceiver()];
  dead.answer = () => undefined; // Never answers.
  const mirror = await telling([dead, alive]);
  await pullNew(mirror, named(5));
  await alive.took(5);
  expect(digestsIn(alive.taken)).toEqual(named(5).map(digestOf));
  expect(dead.taken).toEqual([]);
  const metrics = await mirror.app.metrics();
  const oldest = 'layerwell_webhook_oldest_event_timestamp_seconds';
  expect(metrics.sum(oldest, { webhook: 'hook-1' })).toBe(mirror.app.clock.now() / 1_000);
  expect(metrics.sum('layerwell_event_queue_bytes')).toBeGreaterThan(1_000);
});

test('a mirror that restarts in the middle sends what is left, in order', async () => {
  const receiver = await startWebhookReceiver();
  const mirror = await telling([receiver]);
  receiver.answer = () => (receiver.taken.length < 3 ? 204 : undefined);
  await pullNew(mirror, named(6));
  await receiver.got(4); // The fourth has no answer when the mirror stops.
  await mirror.app.stop();
  receiver.answer = () => 204;
  await mirror.app.start(mirror.app.config);
  await receiver.took(6);
  await pullNew(mirror, named(1, 'later'));
  await receiver.took(7);
  expect(digestsIn(receiver.taken)).toEqual([...named(6), ...named(1, 'later')].map(digestOf));
  const [fourth, again] = receiver.received.slice(3);
  expect(fourth?.headers['webhook-id']).toBe(again?.headers['webhook-id']);
});

test('a webhook that answers 410 gets no more, the log says so, and the next start tries again', async () => {
  const [gone, alive] = [await startWebhookReceiver(), await startWebhookReceiver()];
  gone.answer = () => 410;
  const mirror = await telling([gone, alive]);
  await pullNew(mirror, named(3));
  await alive.took(3);
  await gone.got(1);
  await pullNew(mirror, named(1, 'more'));
  await alive.took(4);
  expect(gone.received).toHaveLength(1);
  const stopped = mirror.app.logLines.filter(({ webhook, reason }) => webhook === 'hook-1' && reason === '410');
  expect(stopped).toHaveLength(1);

  gone.answer = () => 204;
  await mirror.app.restart();
  await pullNew(mirror, named(1, 'again'));
  await gone.took(1);
  expect(digestsIn(gone.taken)).toEqual([digestOf('again0')]);
});

test('a redirect of a webhook is not followed', async () => {
  const [receiver, elsewhere] = [await startWebhookReceiver(), await startWebhookReceiver()];
  const clock = new ManualClock();
  receiver.answer = (_, response) => {
    if (receiver.received.length > 2) return 204;
    response.writeHead(307, { location: elsewhere.url }).end();
    return undefined;
  };
  const mirror = await telling([receiver], { clock, eventWait: passing(Promise.resolve(), clock) });
  await pullNew(mirror, ['one']);
  await receiver.took(1);
  expect(receiver.received).toHaveLength(3);
  expect(elsewhere.received).toEqual([]);
});

test('a full disk drops events and tells how many, and pulls go on', async () => {
  const receiver = await startWebhookReceiver();
  const files = new ScriptedFiles();
  const mirror = await telling([receiver], { files });
  await pullNew(mirror, ['one']);
  await receiver.took(1);
  files.failWith = ({ operation, path }) => (operation === 'write' && path.includes('/events/') ? 'ENOSPC' : undefined);
  await pullNew(mirror, named(3));
  for (const name of named(3)) expect((await ask(mirror.app, `/v2/library/app/manifests/${name}`)).status).toBe(200);
  const dropped = async () => (await mirror.app.metrics()).sum('layerwell_events_dropped_total', { reason: 'disk' });
  await expect.poll(dropped).toBe(3);

  files.failWith = () => undefined;
  await pullNew(mirror, ['after']);
  await receiver.took(3);
  const [, after, told] = receiver.taken;
  expect(digestsIn(after ? [after] : [])).toEqual([digestOf('after')]);
  expect(told?.event).toMatchObject({ type: 'io.layerwell.events.dropped', data: { reason: 'disk', count: 3 } });
});

test('a secret that cannot be used is logged without it, and the event is sent when it can', async () => {
  const receiver = await startWebhookReceiver();
  const upstream = await startFakeRegistry();
  const secretFile = join(await temporaryDirectory(), 'secret');
  await writeFile(secretFile, 'too-short-to-sign');
  const clock = new ManualClock();
  const mended = gate();
  const webhooks = [{ name: 'hook', url: receiver.url, secretFile }];
  const app = await startApp(mirrorOf(upstream, { events: { webhooks } }), {
    clock,
    eventWait: passing(mended.opened, clock),
  });
  await pullNew({ upstream, app }, ['one']);
  const failing = () => app.logLines.find(({ webhook, level }) => webhook === 'hook' && level === 40);
  await expect.poll(failing).toBeDefined();
  expect(String(failing()?.['reason'])).toContain('base64');
  expect(JSON.stringify(app.logLines)).not.toContain('too-short');
  expect(receiver.received).toEqual([]);
  await writeFile(secretFile, secret);
  mended.open();
  await receiver.took(1);
});

test('a mirror that is killed loses no event that it had written', async () => {
  const receiver = await startWebhookReceiver();
  receiver.answer = () => (receiver.taken.length < 2 ? 204 : undefined);
  const upstream = await startFakeRegistry();
  const names = named(5);
  for (const name of names) upstream.content.add('library/app', name, image({ name }));
  const mirror = await startMirror(mirrorOf(upstream, eventsTo([receiver])));
  for (const name of names) await ask(mirror, `/v2/library/app/manifests/${name}`);
  const told = async () => (await mirror.metrics()).sum('layerwell_events_total');
  await expect.poll(told).toBe(names.length);
  const bytes = async () => (await mirror.metrics()).sum('layerwell_event_queue_bytes');
  await expect.poll(bytes).toBeGreaterThan(names.length * 400);
  await receiver.got(3);
  await mirror.kill();

  receiver.answer = () => 204;
  await mirror.start(mirror.config);
  const distinct = () => new Set(receiver.taken.map(({ event }) => event['id'])).size;
  await expect.poll(distinct).toBe(names.length); // Those that came twice have the same id.
  expect(new Set(digestsIn(receiver.taken))).toEqual(new Set(names.map(digestOf)));
});
