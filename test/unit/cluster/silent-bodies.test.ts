import type { ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { gate } from '../../support/gate.ts';
import { sendJson, serve } from '../upstream/serve.ts';
import { blob, openWhole, readBlob, startSiblings } from './start-siblings.ts';

/** Long enough for a busy machine to answer a ping. */
const timeouts = { connectMs: 2_000, headersMs: 1_200, idleMs: 1_200, toldForMs: 2_000 };

interface Scene {
  /** The ping at which the rest of the blob arrives there. The first one checks the secret. */
  readonly restAtPing?: number;
}

/** A sibling that sends four bytes of a blob, and the rest when it is told to. Pings are answered until it is frozen. */
async function siblingInTheMiddle({ restAtPing = Infinity }: Scene = {}) {
  const [rest, frozen] = [gate(), { now: false }];
  const server = await serve(({ url }, response) => {
    if (frozen.now) return;
    if (url.pathname === '/v1/') {
      if (pings() >= restAtPing) rest.open();
      return sendJson(response, { replica: 'r1' });
    }
    begin(response);
    void rest.opened.then(() => response.end(blob.subarray(4)));
  });
  const { at } = startSiblings([server.url], { timeouts });
  const pings = () => server.seen.filter(({ url }) => url.pathname === '/v1/').length;
  const blobs = () => server.seen.length - pings();
  await expect.poll(pings).toBe(1); // The check of the secret.
  return { sibling: at(server.url), rest, frozen, pings, blobs };
}

function begin(response: ServerResponse): void {
  response.writeHead(200, { 'content-length': String(blob.length) });
  response.write(blob.subarray(0, 4));
}

test('a body that brings nothing is waited for while its sibling answers pings: its upstream is slow', async () => {
  // The fifth ping after the check comes after a longer silence than a body may have otherwise.
  const { sibling } = await siblingInTheMiddle({ restAtPing: 6 });
  expect(await readBlob(sibling)).toEqual(blob);
});

test('… but not without end: perhaps only this sibling cannot reach its upstream. It is asked for other content at once', async () => {
  const { sibling, rest, pings } = await siblingInTheMiddle();
  const opened = await openWhole(sibling);
  await expect(opened && buffer(opened.body)).rejects.toMatchObject({ reason: 'timeout' });
  const mostAsked = Math.ceil(timeouts.toldForMs / (timeouts.idleMs / 4));
  expect(pings()).toBeLessThanOrEqual(1 + mostAsked);
  rest.open();
  expect(await readBlob(sibling)).toEqual(blob);
});

test('a sibling that is frozen in the middle of a body is given up in time, and nothing else waits for it', async () => {
  const { sibling, frozen, blobs } = await siblingInTheMiddle();
  const opened = await openWhole(sibling);
  frozen.now = true;
  const sinceMs = performance.now();
  await expect(opened && buffer(opened.body)).rejects.toMatchObject({ reason: 'timeout' });
  expect(performance.now() - sinceMs).toBeLessThan(timeouts.idleMs + timeouts.headersMs + 2_000);
  await expect(openWhole(sibling)).rejects.toMatchObject({ reason: 'connect' });
  expect(blobs()).toBe(1);
});

test('a ping does not wait for a connection that bodies use', async () => {
  const { sibling } = await siblingInTheMiddle({ restAtPing: 3 });
  const read = await Promise.all(Array.from({ length: 64 }, () => readBlob(sibling)));
  expect(new Set(read.map(String))).toEqual(new Set([String(blob)]));
});
