import { once } from 'node:events';
import { createServer, IncomingMessage, ServerResponse } from 'node:http';
import { type AddressInfo, Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { SmallBodies } from '../../../../src/http/response/memory-bodies.ts';

async function serve(small: SmallBodies, count: () => number): Promise<string> {
  const server = createServer((_request, response) => small.send(response, Buffer.from(`answer ${count()}`)));
  onTestFinished(() => void server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port }: AddressInfo = Object(server.address());
  return `http://127.0.0.1:${port}`;
}

test('every client gets its own response, whole', async () => {
  let answers = 0;
  const url = await serve(new SmallBodies(), () => (answers += 1));
  const texts = await Promise.all(Array.from({ length: 50 }, async () => (await fetch(url)).text()));
  expect(texts.toSorted()).toEqual(Array.from({ length: 50 }, (_, at) => `answer ${at + 1}`).toSorted());
});

test('a response whose client has left does not affect the others', async () => {
  const small = new SmallBodies();
  const server = createServer((request, response) => {
    if (request.url === '/gone') response.destroy();
    small.send(response, Buffer.from('there'));
  });
  onTestFinished(() => void server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port }: AddressInfo = Object(server.address());
  const [gone, there] = await Promise.allSettled(
    ['/gone', '/'].map((path) => fetch(`http://127.0.0.1:${port}${path}`)),
  );
  expect(gone?.status).toBe('rejected');
  expect(there?.status).toBe('fulfilled');
});

test('at most seven responses wait for the end of the turn, however many requests it has', async () => {
  const small = new SmallBodies();
  const responses = Array.from({ length: 100 }, () => new ServerResponse(new IncomingMessage(new Socket())));
  let most = 0;
  for (const [index, response] of responses.entries()) {
    small.send(response, Buffer.from('a body'));
    most = Math.max(most, responses.slice(0, index + 1).filter(({ writableEnded }) => !writableEnded).length);
  }
  expect(most).toBe(7);
  await nextTurn();
  expect(responses.every(({ writableEnded }) => writableEnded)).toBe(true);
});
