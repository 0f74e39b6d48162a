import { createServer, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { LargeBodies } from '../../../../src/http/response/memory-bodies.ts';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import { ask, open } from '../../../support/client.ts';
import { freePort } from '../../../support/free-port.ts';

const mebibyte = 1024 * 1024;
/** More than the sockets between a client and the mirror hold. */
const bodyBytes = 24 * mebibyte;
/** A test of connections is elsewhere. */
const reset = (socket: Socket): void => void socket.resetAndDestroy();
const stays = new AbortController().signal;

/** Serves one body for every path that begins with the same letter. */
async function serve(large: LargeBodies, { signal = stays } = {}) {
  const bodies = new Map(['a', 'b', 'c'].map((name) => [name, Buffer.alloc(bodyBytes, name)]));
  const failures: unknown[] = [];
  const answer = async (response: ServerResponse, whole: Buffer): Promise<void> => {
    const begin = () => void response.writeHead(200, { 'Content-Length': whole.length });
    await large.send(response, { whole, body: whole, begin }, { signal });
  };
  const port = await freePort();
  const server = createServer(({ url = '' }, response) => {
    answer(response, bodies.get(url.charAt(1)) ?? Buffer.alloc(0)).catch((cause: unknown) => {
      failures.push(cause);
      response.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${port}`, failures };
}

async function stalled(from: { readonly url: string }, path: string) {
  const answer = await open(from, path);
  answer.pause();
  return answer;
}

test('a body counts once for all its clients, until the last one has it or has left', async () => {
  const memory = new MemoryBudget({ maxBytes: 64 * mebibyte });
  const from = await serve(new LargeBodies({ memory, reset }));
  const [one, two] = [await stalled(from, '/a'), await stalled(from, '/a')];
  expect(memory.reservedBytes).toBe(bodyBytes);
  expect((await ask(from, '/a')).body.equals(Buffer.alloc(bodyBytes, 'a'))).toBe(true);
  one.hangUp();
  expect((await two.rest()).length).toBe(bodyBytes);
  await expect.poll(() => memory.reservedBytes).toBe(0);
});

test('above the budget a response waits for its turn', async () => {
  const memory = new MemoryBudget({ maxBytes: bodyBytes + mebibyte });
  const from = await serve(new LargeBodies({ memory, reset }));
  const first = await stalled(from, '/a');
  const second = ask(from, '/b');
  await expect.poll(() => memory.waiting).toBe(1);
  expect(memory.reservedBytes).toBe(bodyBytes);
  expect((await first.rest()).length).toBe(bodyBytes);
  expect((await second).body.length).toBe(bodyBytes);
});

test('a client that reads nothing while others wait for memory is cut', async () => {
  const memory = new MemoryBudget({ maxBytes: bodyBytes + mebibyte });
  const from = await serve(new LargeBodies({ memory, reset, stalledAfterMs: 200 }));
  const first = await stalled(from, '/a');
  expect((await ask(from, '/b')).body.length).toBe(bodyBytes);
  await expect(first.rest()).rejects.toThrow('cut');
  expect(memory.reservedBytes).toBe(0);
});

test('a client that reads slowly is cut eventually, when others wait for memory', async () => {
  const memory = new MemoryBudget({ maxBytes: bodyBytes + mebibyte });
  const from = await serve(new LargeBodies({ memory, reset, stalledAfterMs: 60_000, slowAfterMs: 300 }));
  const slow = await stalled(from, '/a');
  const other = ask(from, '/b');
  const takeALittle = async (): Promise<void> => {
    for (;;) {
      await slow.read(1);
      slow.pause();
      await sleep(20); // The pace of the client.
    }
  };
  await expect(takeALittle()).rejects.toThrow('broken');
  expect((await other).body.length).toBe(bodyBytes);
});

test('a client that reads nothing is not cut while no other waits for memory', async () => {
  const memory = new MemoryBudget({ maxBytes: 3 * bodyBytes });
  const from = await serve(new LargeBodies({ memory, reset, stalledAfterMs: 20 }));
  const first = await stalled(from, '/a');
  for (let pull = 0; pull < 5; pull += 1) expect((await ask(from, '/b')).body.length).toBe(bodyBytes);
  expect((await first.rest()).length).toBe(bodyBytes);
});

test('a client that stops waiting leaves the line, and no memory is reserved for it', async () => {
  const memory = new MemoryBudget({ maxBytes: bodyBytes });
  const others = memory.tryReserve(bodyBytes);
  const leaving = new AbortController();
  const from = await serve(new LargeBodies({ memory, reset }), leaving);
  const answers = [ask(from, '/a'), ask(from, '/a')].map((answer) => answer.catch(() => 'none'));
  await expect.poll(() => memory.waiting).toBe(1);
  leaving.abort(new Error('too late'));
  expect(await Promise.all(answers)).toEqual(['none', 'none']);
  expect(from.failures).toMatchObject([{ message: 'too late' }, { message: 'too late' }]);
  expect(memory.waiting).toBe(0);
  others?.release();
  expect(memory.reservedBytes).toBe(0);
});
