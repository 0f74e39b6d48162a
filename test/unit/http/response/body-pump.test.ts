import { once } from 'node:events';
import { createServer, IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import { ReadBuffers, sendStretch, type StretchOptions } from '../../../../src/http/response/body-pump.ts';
import { Exchange, RequestDeadline } from '../../../../src/http/server/exchange.ts';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import type { ByteSource } from '../../../../src/mirror/ports/byte-source.ts';
import { ask, open } from '../../../support/client.ts';
import { randomBytes } from '../../../support/images.ts';

/** Serves one answer on a real socket, and tells how sending it ended. */
async function serveOnce(options: Omit<StretchOptions, 'buffers'>, length: number | undefined) {
  const ended = Promise.withResolvers<unknown>();
  const buffers = new ReadBuffers({ memory: new MemoryBudget({ maxBytes: 1024 * 1024 }) });
  const send = async (response: ServerResponse) => {
    response.writeHead(200, length === undefined ? {} : { 'content-length': length });
    try {
      ended.resolve(
        await sendStretch(response, new Exchange(response, new RequestDeadline()), { ...options, buffers }),
      );
    } catch (cause) {
      response.destroy();
      ended.resolve(cause);
    }
  };
  const server = createServer((_, response) => void send(response)).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  return { served: { url: `http://127.0.0.1:${port}` }, ended: ended.promise, buffers };
}

/** Bytes in memory, read at most `most` at a time. */
function sourceOf(bytes: Buffer, { most = Infinity }: { readonly most?: number } = {}): ByteSource {
  return {
    read: async (into, position) => bytes.copy(into, 0, position, Math.min(bytes.length, position + most)),
    [Symbol.asyncDispose]: async () => {},
  };
}

const bytes = randomBytes(3_000_000, 'content');

test.each([
  { what: 'the whole', start: 0, end: bytes.length },
  { what: 'a part', start: 1_000_000, end: 2_000_001 },
  { what: 'nothing', start: 5, end: 5 },
])('$what is sent unchanged, and the buffers are returned', async ({ start, end }) => {
  for (const source of [sourceOf(bytes), sourceOf(bytes, { most: 10_007 })]) {
    const { served, ended, buffers } = await serveOnce({ source, start, end, isSequential: false }, end - start);
    expect((await ask(served, '/')).body.equals(bytes.subarray(start, end))).toBe(true);
    await ended;
    expect(buffers.usedBytes).toBe(0);
  }
});

test('a source without a known end is sent to its end', async () => {
  const options = { source: sourceOf(bytes), start: 0, end: undefined, isSequential: false };
  const { served } = await serveOnce(options, undefined);
  expect((await ask(served, '/')).body.equals(bytes)).toBe(true);
});

test('a source that can only be read from its beginning skips the bytes before a part', async () => {
  let expected = 0;
  const inner = sourceOf(bytes, { most: 100_000 });
  const source: ByteSource = {
    ...inner,
    read: async (into, position) => {
      expect(position).toBe(expected);
      const read = await inner.read(into, position);
      expected += read;
      return read;
    },
  };
  const { served, ended } = await serveOnce({ source, start: 1_234_567, end: 1_234_667, isSequential: true }, 100);
  expect((await ask(served, '/')).body.equals(bytes.subarray(1_234_567, 1_234_667))).toBe(true);
  expect(await ended).toBeUndefined();
});

test.each([
  { what: 'ends too early', isSequential: false, read: async () => 0 },
  { what: 'ends before the part begins', isSequential: true, read: async () => 0 },
  { what: 'fails', isSequential: false, read: async () => Promise.reject(new Error('the disk is gone')) },
])('the response is cut when its source $what, and the buffers are returned', async ({ isSequential, read }) => {
  const source = { read, [Symbol.asyncDispose]: async () => {} };
  const { served, ended, buffers } = await serveOnce({ source, start: 10, end: 20, isSequential }, 10);
  await expect(ask(served, '/')).rejects.toThrow(/cut|hang up/);
  expect(await ended).toBeInstanceOf(Error);
  expect(buffers.usedBytes).toBe(0);
});

test('a client that leaves ends the transfer, and the buffers are returned', async () => {
  const endless: ByteSource = { read: async (into) => into.byteLength, [Symbol.asyncDispose]: async () => {} };
  const { served, ended, buffers } = await serveOnce(
    { source: endless, start: 0, end: undefined, isSequential: false },
    undefined,
  );
  const client = await open(served, '/');
  await client.read(1);
  client.hangUp();
  expect(await ended).toMatchObject({ name: 'ClientLeft' });
  expect(buffers.usedBytes).toBe(0);
});

/** Bytes that lie in memory, and how many borrowed buffers were not returned. */
function borrowableSource(borrowableBytes: Buffer) {
  const borrowed = { open: 0, made: 0, reads: 0 };
  const borrow = async (position: number, maxBytes: number) => {
    const part = borrowableBytes.subarray(position, position + maxBytes);
    if (part.length === 0) return undefined;
    borrowed.open += 1;
    borrowed.made += 1;
    const half = part.length >> 1;
    const end = () => {
      borrowed.open -= 1;
    };
    return { pieces: [part.subarray(0, half), part.subarray(half)], bytes: part.length, end };
  };
  const read: ByteSource['read'] = async (into, position) => {
    borrowed.reads += 1;
    return bytes.copy(into, 0, position);
  };
  return { source: { read, borrow, [Symbol.asyncDispose]: async () => {} }, borrowed };
}

test.each([
  { what: 'all of it', start: 0, end: bytes.length, borrowable: bytes, reads: 0 },
  { what: 'a part', start: 1_000_000, end: 2_000_001, borrowable: bytes, reads: 0 },
  {
    what: 'a part of which the end has to be read',
    start: 10,
    end: 1_500_000,
    borrowable: bytes.subarray(0, 1_400_000),
    reads: 1,
  },
])(
  'borrowed bytes are sent without a read: $what, and every borrowed buffer is returned',
  async ({ start, end, borrowable, reads }) => {
    const { source, borrowed } = borrowableSource(borrowable);
    const { served, ended } = await serveOnce({ source, start, end, isSequential: false }, end - start);
    expect((await ask(served, '/')).body.equals(bytes.subarray(start, end))).toBe(true);
    await ended;
    expect(borrowed).toEqual({ open: 0, made: expect.any(Number), reads });
    expect(borrowed.made).toBeGreaterThan(0);
  },
);

test('the buffers of a cut response are not reused: its socket may still send them', async () => {
  const response = new ServerResponse(new IncomingMessage(new Socket())); // Without its socket every write stays pending.
  const buffers = new ReadBuffers({ memory: new MemoryBudget({ maxBytes: 1024 * 1024 }) });
  const source: ByteSource = {
    read: async (into, position) => {
      if (position > 0) throw new Error('the disk is gone');
      into.fill(65); // A
      return into.byteLength;
    },
    [Symbol.asyncDispose]: async () => {},
  };
  const options = { source, start: 0, end: undefined, isSequential: false, buffers };
  await expect(sendStretch(response, new Exchange(response, new RequestDeadline()), options)).rejects.toThrow(
    'the disk is gone',
  );
  expect(buffers.usedBytes).toBe(0);
  const pairs = Array.from({ length: 8 }, () => buffers.take(Infinity).buffers);
  expect(pairs.flat().some((buffer) => buffer.includes('AAAA'))).toBe(false);
});

test('a client that leaves returns every borrowed buffer', async () => {
  const { source, borrowed } = borrowableSource(Buffer.alloc(64 * 1024 * 1024));
  const { served, ended } = await serveOnce({ source, start: 0, end: undefined, isSequential: false }, undefined);
  const client = await open(served, '/');
  await client.read(1);
  client.hangUp();
  expect(await ended).toMatchObject({ name: 'ClientLeft' });
  await expect.poll(() => borrowed.open).toBe(0);
});

test('a client that leaves during a write ends the wait', async () => {
  const socket = new Socket();
  const response = new ServerResponse(new IncomingMessage(socket));
  response.assignSocket(socket);
  const buffers = new ReadBuffers({ memory: new MemoryBudget({ maxBytes: 1024 * 1024 }) });
  const source: ByteSource = {
    read: async () => {
      socket.destroy(); // It says so in the next tick: until then the answer is thought to be wanted.
      return 10;
    },
    [Symbol.asyncDispose]: async () => {},
  };
  const options = { source, start: 0, end: 10, isSequential: false, buffers };
  const sending = sendStretch(response, new Exchange(response, new RequestDeadline()), options);
  await expect(sending).rejects.toMatchObject({ name: 'ClientLeft' });
  expect(buffers.usedBytes).toBe(0);
});

const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;

test('a fast reader gets large buffers, a slow one small buffers', () => {
  const buffers = new ReadBuffers({ memory: new MemoryBudget({ maxBytes: 128 * mebibyte }) });
  const sizeFor = (wantedBytes: number) => buffers.take(wantedBytes).buffers[0].byteLength;
  expect(sizeFor(Infinity)).toBe(512 * kibibyte);
  expect(sizeFor(10 * mebibyte)).toBe(512 * kibibyte);
  expect(sizeFor(200 * kibibyte)).toBe(256 * kibibyte);
  expect(sizeFor(100)).toBe(64 * kibibyte);
  expect(sizeFor(0)).toBe(64 * kibibyte);
});

test('the more readers, the smaller the buffers: down to 64 KiB, and to 8 KiB when the memory budget has no room', () => {
  const buffers = new ReadBuffers({ memory: new MemoryBudget({ maxBytes: 128 * mebibyte }) });
  const sizes = Array.from({ length: 1_000 }, () => buffers.take(Infinity).buffers[0].byteLength);
  expect(sizes).toEqual(sizes.toSorted((one, other) => other - one));
  expect(sizes[0]).toBe(512 * kibibyte);
  expect(sizes[200]).toBe(64 * kibibyte);
  expect(sizes.at(-1)).toBe(8 * kibibyte);
});

test('the buffers use at most half of the budget, and 16 KiB for each reader beyond it', () => {
  const maxBytes = 8 * mebibyte;
  fc.assert(
    fc.property(
      fc.array(fc.record({ leaves: fc.boolean(), wanted: fc.nat(4 * mebibyte) }), { maxLength: 300 }),
      (steps) => {
        const memory = new MemoryBudget({ maxBytes });
        const buffers = new ReadBuffers({ memory });
        const taken: ReturnType<ReadBuffers['take']>[] = [];
        for (const { leaves, wanted } of steps) {
          if (leaves) taken.pop()?.release();
          else taken.push(buffers.take(wanted));
          const bytes = taken.reduce((sum, pair) => sum + pair.buffers[0].byteLength + pair.buffers[1].byteLength, 0);
          expect(buffers.usedBytes).toBe(bytes);
          expect(memory.reservedBytes).toBe(bytes);
          expect(bytes).toBeLessThanOrEqual(maxBytes / 2 + taken.length * 16 * kibibyte);
        }
      },
    ),
  );
});

test('a buffer has one reader at a time, also if it is returned twice', () => {
  const buffers = new ReadBuffers({ memory: new MemoryBudget({ maxBytes: 128 * mebibyte }) });
  const first = buffers.take(1);
  expect(first.buffers[0]).not.toBe(first.buffers[1]);
  first.release();
  first.release();
  const taken = Array.from({ length: 4 }, () => buffers.take(1).buffers).flat();
  expect(new Set(taken).size).toBe(taken.length);
  expect(taken).toContain(first.buffers[0]);
  expect(buffers.usedBytes).toBe(4 * 128 * kibibyte);
});

test('a discarded buffer is never used again', () => {
  const buffers = new ReadBuffers({ memory: new MemoryBudget({ maxBytes: 128 * mebibyte }) });
  const first = buffers.take(1);
  first.discard();
  first.release();
  expect(buffers.usedBytes).toBe(0);
  const second = buffers.take(1);
  expect(second.buffers).not.toContain(first.buffers[0]);
  expect(second.buffers).not.toContain(first.buffers[1]);
});
