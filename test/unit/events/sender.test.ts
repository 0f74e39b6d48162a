import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { Sender } from '../../../src/events/webhooks/sender.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { startWebhookReceiver } from '../../support/webhook-receiver.ts';
import { selfSigned } from '../upstream/certificates.ts';
import { serveTls } from '../upstream/serve-tls.ts';

const secret = Buffer.alloc(32, 1).toString('base64');
const delivery = { id: 'one', json: '{"id":"one"}' };
const { signal } = new AbortController();

/** Sends one event to a receiver that answers as given. */
async function sendTo(answer: (response: ServerResponse) => number | undefined, withinMs = 10_000) {
  const receiver = await startWebhookReceiver();
  receiver.answer = (_, response) => answer(response);
  const sender = new Sender({
    url: new URL(receiver.url),
    readSecrets: async () => [secret],
    ca: undefined,
    proxy: { except: [] },
    userAgent: 'layerwell/test',
    clock: new ManualClock(),
    withinMs,
  });
  const outcome = await sender.send(delivery, { signal });
  await sender.close();
  return outcome;
}

/** The receiver writes its answer by itself. */
const by =
  (write: (response: ServerResponse) => unknown) =>
  (response: ServerResponse): undefined =>
    void write(response);

test('the status of the receiver is what counts, with its Retry-After', async () => {
  expect(await sendTo(() => 204)).toEqual({ kind: 'answered', status: 204, retryAfterMs: undefined });
  const busy = by((response) => response.writeHead(503, { 'retry-after': '7' }).end('busy'));
  expect(await sendTo(busy)).toEqual({ kind: 'answered', status: 503, retryAfterMs: 7_000 });
});

test('a receiver that is silent fails in time', async () => {
  expect(await sendTo(() => undefined, 50)).toEqual({ kind: 'failed', reason: 'timeout' });
});

test('a receiver that resets the connection fails', async () => {
  expect(await sendTo(by((response) => response.socket?.resetAndDestroy()))).toEqual({
    kind: 'failed',
    reason: 'connect',
  });
});

test('a receiver that sends no HTTP fails', async () => {
  const outcome = await sendTo(by((response) => response.socket?.end('hello\r\n\r\n')));
  expect(outcome).toMatchObject({ kind: 'failed' });
});

test('a body that never ends, breaks off or is endless does not matter, and is not kept', async () => {
  const taken = { kind: 'answered', status: 200, retryAfterMs: undefined };
  const begun = by((response) => response.writeHead(200).write('a'));
  expect(await sendTo(begun, 50)).toEqual(taken);
  const broken = by((response) => {
    response.writeHead(200, { 'content-length': '10' }).write('a');
    setImmediate(() => response.destroy());
  });
  expect(await sendTo(broken)).toEqual(taken);
  let sent = 0;
  const endless = by((response) => {
    response.writeHead(200);
    const more = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(64 * 1024))) sent += 1;
    };
    response.on('drain', more);
    more();
  });
  expect(await sendTo(endless)).toEqual(taken);
  expect(sent).toBeLessThan(1_000);
});

test('headers without an end are refused', async () => {
  const flood = by((response) => response.socket?.write(`HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(20_000)}`));
  expect(await sendTo(flood)).toMatchObject({ kind: 'failed' });
});

test('a name that does not exist and a port that is closed fail', async () => {
  const to = async (url: string) => {
    const deps = { readSecrets: async () => [secret], ca: undefined, proxy: { except: [] }, userAgent: 'test' };
    const lookup = async () => Promise.reject(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }));
    const sender = new Sender({ ...deps, url: new URL(url), clock: new ManualClock(), lookup });
    const outcome = await sender.send(delivery, { signal });
    await sender.close();
    return outcome;
  };
  expect(await to('http://nowhere.test/')).toEqual({ kind: 'failed', reason: 'dns' });
  expect(await to('http://127.0.0.1:9/')).toEqual({ kind: 'failed', reason: 'connect' });
});

test('a receiver with a CA of its own is trusted only where the configuration names it', async () => {
  const { certificate: cert, key } = await selfSigned('hooks');
  const url = new URL(await serveTls({ cert, key }));
  const outcomeWith = async (ca: string | undefined) => {
    const deps = { readSecrets: async () => [secret], proxy: { except: [] }, userAgent: 'test' };
    const sender = new Sender({ ...deps, ca, url, clock: new ManualClock() });
    const outcome = await sender.send(delivery, { signal });
    await sender.close();
    return outcome;
  };
  expect(await outcomeWith(cert)).toMatchObject({ kind: 'answered', status: 200 });
  expect(await outcomeWith(undefined)).toEqual({ kind: 'failed', reason: 'tls' });
});

test('an abort ends a request that runs', async () => {
  const receiver = await startWebhookReceiver();
  receiver.answer = () => undefined;
  const deps = { readSecrets: async () => [secret], ca: undefined, proxy: { except: [] }, userAgent: 'test' };
  const sender = new Sender({ ...deps, url: new URL(receiver.url), clock: new ManualClock() });
  const leaving = new AbortController();
  const sending = sender.send(delivery, { signal: leaving.signal });
  await receiver.got(1);
  leaving.abort(new Error('the mirror stops'));
  await expect(sending).rejects.toThrow('the mirror stops');
  await sender.close();
});
