import { createServer } from 'node:http';
import Koa from 'koa';
import { expect, onTestFinished, test } from 'vitest';
import { Exchange, type ExchangeState, RequestDeadline } from '../../../../src/http/server/exchange.ts';
import { type Document, sendDocument } from '../../../../src/http/response/document.ts';
import { LargeBodies } from '../../../../src/http/response/memory-bodies.ts';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import { ask } from '../../../support/client.ts';
import { freePort } from '../../../support/free-port.ts';

/** A server whose every answer is this document, within a budget of 1 MiB; it counts how often the document was looked up and made. */
async function serve(names: readonly string[]) {
  const memory = new MemoryBudget({ maxBytes: 1024 * 1024 });
  const large = new LargeBodies({ memory, reset: (socket) => void socket.destroy() });
  const count = { looked: 0, made: 0 };
  const look = async (): Promise<Document> => {
    count.looked += 1;
    const value = () => {
      count.made += 1;
      return { names };
    };
    return { bytes: names.join().length, value };
  };
  const app = new Koa<ExchangeState>();
  const deadline = new RequestDeadline();
  app.use((ctx) => {
    ctx.state.exchange = new Exchange(ctx.res, deadline);
    return sendDocument(ctx, large, look);
  });
  const port = await freePort();
  const answer = app.callback();
  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${port}`, memory, count };
}

const long = Array.from({ length: 2_000 }, (_, index) => `${index}-${'x'.repeat(100)}`);

test('a long listing is not built before there is memory for it, however many clients wait', async () => {
  const from = await serve(long);
  const others = from.memory.take(1024 * 1024);
  const needed = await from.memory.reserve(1024 * 1024, { signal: new AbortController().signal });
  const answers = Array.from({ length: 20 }, () => ask(from, '/'));
  await expect.poll(() => from.memory.waiting).toBe(20);
  expect(from.count).toEqual({ looked: 20, made: 0 });
  others.release();
  needed.release();
  for (const { status, headers, body } of await Promise.all(answers)) {
    expect(status).toBe(200);
    expect(headers).toMatchObject({ 'content-type': 'application/json; charset=utf-8' });
    expect(JSON.parse(body.toString())).toEqual({ names: long });
  }
  await expect.poll(() => from.memory.reservedBytes).toBe(0);
});

test('a short listing does not wait, and HEAD has the length of a long one', async () => {
  const short = await serve(['a', 'b']);
  short.memory.take(2 * 1024 * 1024);
  expect((await ask(short, '/')).body.toString()).toBe('{"names":["a","b"]}');
  const from = await serve(long);
  from.memory.take(2 * 1024 * 1024);
  const head = await ask(from, '/', { method: 'HEAD' });
  expect(Number(head.headers['content-length'])).toBe(JSON.stringify({ names: long }).length);
});
