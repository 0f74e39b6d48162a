import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import type { OtherCache } from '../../../src/mirror/ports/other-caches.ts';
import { sendJson } from '../upstream/serve.ts';
import {
  app,
  blob,
  digest,
  latest,
  manifestType,
  openRest,
  openWhole,
  rawServer,
  siblingThat,
  startSiblings,
  timeouts,
  waiting,
} from './start-siblings.ts';

test.each([
  {
    what: 'another part than was asked for',
    answer: (response: ServerResponse) => response.writeHead(206, { 'content-range': 'bytes 0-9/10' }).end(blob),
    ask: openRest,
    reason: 'misbehaving',
  },
  {
    what: 'a part that nobody asked for',
    answer: (response: ServerResponse) => response.writeHead(206, { 'content-range': 'bytes 0-9/10' }).end(blob),
    ask: openWhole,
    reason: 'misbehaving',
  },
  {
    what: 'a part without saying which',
    answer: (response: ServerResponse) => response.writeHead(206).end(blob),
    ask: openRest,
    reason: 'misbehaving',
  },
  {
    what: 'another manifest',
    answer: (response: ServerResponse) =>
      response.writeHead(200, { 'content-type': manifestType }).end('{"schemaVersion":2}'),
    ask: (sibling: OtherCache) => sibling.manifest(app, digest, waiting),
    reason: 'misbehaving',
  },
  {
    what: 'a manifest without its media type',
    answer: (response: ServerResponse) => response.writeHead(200).end(blob),
    ask: (sibling: OtherCache) => sibling.manifest(app, digest, waiting),
    reason: 'misbehaving',
  },
  {
    what: 'a manifest of 5 MiB',
    answer: (response: ServerResponse) =>
      response.writeHead(200, { 'content-type': manifestType }).end(Buffer.alloc(5 * 1024 * 1024)),
    ask: (sibling: OtherCache) => sibling.manifest(app, digest, waiting),
    reason: 'misbehaving',
  },
  {
    what: '10 MB of JSON',
    answer: (response: ServerResponse) =>
      response.writeHead(200, { 'content-type': 'application/json' }).end(`{"digest":"${'a'.repeat(10_000_000)}"}`),
    ask: (sibling: OtherCache) => sibling.tag(app, latest, waiting),
    reason: 'misbehaving',
  },
  {
    what: 'a tag without a digest',
    answer: (response: ServerResponse) => sendJson(response, { mediaType: manifestType, size: 1, ageMs: 0 }),
    ask: (sibling: OtherCache) => sibling.tag(app, latest, waiting),
    reason: 'misbehaving',
  },
  {
    what: 'a tag from the future',
    answer: (response: ServerResponse) =>
      sendJson(response, { digest, mediaType: manifestType, size: 1, ageMs: -1_000 }),
    ask: (sibling: OtherCache) => sibling.tag(app, latest, waiting),
    reason: 'misbehaving',
  },
  {
    what: 'a verdict that there is not',
    answer: (response: ServerResponse) => sendJson(response, { verdict: 'perhaps', ageMs: 0 }),
    ask: (sibling: OtherCache) => sibling.visibility(app, waiting),
    reason: 'misbehaving',
  },
  {
    what: 'HTML',
    answer: (response: ServerResponse) => response.writeHead(200).end('<html>'),
    ask: (sibling: OtherCache) => sibling.visibility(app, waiting),
    reason: 'misbehaving',
  },
  {
    what: 'a redirect',
    answer: (response: ServerResponse) => response.writeHead(307, { location: '/elsewhere' }).end(),
    ask: openWhole,
    reason: 'misbehaving',
  },
  {
    what: 'an error of its own',
    answer: (response: ServerResponse) => sendJson(response, {}, 500),
    ask: openWhole,
    reason: 'unavailable',
  },
  {
    what: 'that it has too much to do',
    answer: (response: ServerResponse) => sendJson(response, {}, 503, { 'retry-after': '2' }),
    ask: openWhole,
    reason: 'busy',
  },
  { what: 'nothing', answer: () => {}, ask: openWhole, reason: 'timeout' },
])('a sibling that answers $what gives no usable answer', async ({ answer, ask, reason }) => {
  const { sibling, server, observer } = await siblingThat((_, response) => void answer(response));
  await expect(ask(sibling)).rejects.toMatchObject({ name: 'UpstreamError', reason });
  expect(observer.siblingsAsked).toEqual([expect.stringMatching(new RegExp(` ${reason}$`))]);
  expect(server.seen.filter(({ url }) => url.pathname !== '/v1/')).toHaveLength(1);
});

test.each([
  {
    what: 'stops in the middle of a blob',
    answer: (response: ServerResponse) => response.writeHead(200, { 'content-length': '10' }).write('0123'),
    reason: 'timeout',
  },
  {
    what: 'resets the connection in the middle of a blob',
    answer: (response: ServerResponse) =>
      response.writeHead(200, { 'content-length': '10' }).write('0123', () => response.destroy()),
    reason: 'connect',
  },
  {
    what: 'closes a blob of unknown length before its end',
    answer: (response: ServerResponse) => response.writeHead(200).write('0123', () => response.destroy()),
    reason: 'connect',
  },
])('a sibling that $what fails the body, after what has arrived', async ({ answer, reason }) => {
  const { sibling } = await siblingThat((_, response) => void answer(response));
  const opened = await openWhole(sibling);
  const arrived: Buffer[] = [];
  const reading = (async () => {
    for await (const piece of opened?.body ?? []) arrived.push(Buffer.from(piece));
  })();
  await expect(reading).rejects.toMatchObject({ reason });
  expect(Buffer.concat(arrived).toString()).toBe('0123');
});

test('headers without end are refused', async () => {
  let sent = 0;
  const address = await rawServer((socket) => {
    socket.write('HTTP/1.1 200 OK\r\n');
    const more = () => {
      sent += 1;
      if (!socket.destroyed && sent < 1_000)
        socket.write(`x-${sent}: ${'a'.repeat(1_000)}\r\n`, () => setImmediate(more));
    };
    more();
  });
  const { at } = startSiblings([address], { timeouts: { ...timeouts, headersMs: 20_000 } });
  await expect(openWhole(at(address))).rejects.toMatchObject({ reason: 'misbehaving' });
  expect(sent).toBeLessThan(1_000);
});

test('headers that arrive slowly are given up in time', async () => {
  const address = await rawServer((socket) => {
    socket.write('HTTP/1.1 200 OK\r\n');
    const timer = setInterval(() => socket.write('x: y\r\n'), 20);
    socket.once('close', () => clearInterval(timer));
  });
  const { at } = startSiblings([address], { timeouts: { connectMs: 100, headersMs: 200, idleMs: 200 } });
  await expect(openWhole(at(address))).rejects.toMatchObject({ reason: 'timeout' });
});
