import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import { AnswerBody, contentLengthOf, contentRangeOf } from '../../../../src/upstream/transport/answer.ts';

/** An exchange that only notes what is done to it. */
class FakeController {
  readonly aborted = false;
  readonly reason = null;
  paused = false;
  readonly aborts: Error[] = [];

  abort(reason: Error): void {
    this.aborts.push(reason);
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }
}

const idleMs = 60_000;

function start(memory?: MemoryBudget) {
  const controller = new FakeController();
  const told: number[] = [];
  const onBytes = (bytes: number) => told.push(bytes);
  return {
    controller,
    told,
    body: new AnswerBody({ controller, host: 'registry.test', idleMs, onBytes, memory }),
  };
}

const mebibyte = Buffer.alloc(1024 * 1024);

test('a body that fails before it is read reports the error to a later reader', async () => {
  const { body, controller } = start();

  body.destroy(new Error('gone'));
  await new Promise(setImmediate);

  expect(controller.aborts).toHaveLength(1);
  await expect(buffer(body)).rejects.toThrow('gone');
});

test('bytes that arrived before the failure are read first, and then the failure is reported', async () => {
  const { body, told } = start();
  body.receive(Buffer.from('some of it'));
  const pieces: string[] = [];
  const read = (async () => {
    for await (const piece of body) pieces.push(String(piece));
  })();
  body.receive(Buffer.from(', and more'));

  body.fail(new Error('cut'));

  await expect(read).rejects.toThrow('cut');
  expect(pieces.join('')).toBe('some of it, and more');
  expect(told).toEqual(['some of it, and more'.length]);
});

test('destroying a body that is complete does not abort its exchange', async () => {
  const { body, controller } = start();
  body.receive(Buffer.from('all of it'));
  body.complete();

  body.destroy();

  expect(controller.aborts).toEqual([]);
});

test('a body without a reader holds a MiB, and makes the upstream wait until it is read', async () => {
  const { body, controller } = start();

  body.receive(mebibyte.subarray(1));
  expect(controller.paused).toBe(false);
  body.receive(mebibyte.subarray(0, 1));
  expect(controller.paused).toBe(true);

  body.read();
  await new Promise(setImmediate);
  expect(controller.paused).toBe(false);
  body.destroy();
});

test('the bytes that a body holds count against the memory budget until they are read', async () => {
  const memory = new MemoryBudget({ maxBytes: 2 * mebibyte.length });
  const { body } = start(memory);
  body.receive(mebibyte.subarray(1_000));
  expect(memory.reservedBytes).toBe(mebibyte.length - 1_000);
  body.read();
  body.receive(mebibyte.subarray(0, 10));
  expect(memory.reservedBytes).toBe(10);
  body.destroy();
  expect(memory.reservedBytes).toBe(0);
});

test('when memory is short a body holds 64 KiB before the upstream waits, and continues when they are read', async () => {
  const memory = new MemoryBudget({ maxBytes: mebibyte.length });
  memory.tryReserve(mebibyte.length);
  const { body, controller } = start(memory);
  body.receive(mebibyte.subarray(0, 65_535));
  expect(controller.paused).toBe(false);
  body.receive(mebibyte.subarray(0, 1));
  for (let turn = 0; turn < 3; turn += 1) await new Promise(setImmediate);
  expect(controller.paused).toBe(true);
  body.read();
  await new Promise(setImmediate);
  expect(controller.paused).toBe(false);
  body.destroy();
});

test('bytes are reported by the MiB, and the rest at the end', async () => {
  const { body, told } = start();

  body.receive(mebibyte.subarray(1));
  expect(told).toEqual([]);
  body.receive(mebibyte.subarray(0, 5));
  expect(told).toEqual([mebibyte.length + 4]);
  body.receive(Buffer.from('rest'));
  body.complete();
  await buffer(body);

  expect(told).toEqual([mebibyte.length + 4, 4]);
});

test('a body in pieces of one byte is merged, with a bounded number of pieces per event loop turn', async () => {
  const { body, controller } = start();
  const sendUntilPaused = (): number => {
    let sent = 0;
    for (; !controller.paused; sent += 1) body.receive(Buffer.from('x'));
    return sent;
  };
  const pieces: number[] = [];
  const read = (async () => {
    for await (const piece of body) pieces.push(Buffer.from(piece).length);
  })();
  let sent = 0;
  for (let turn = 0; turn < 10; turn += 1) {
    sent += sendUntilPaused();
    await new Promise(setImmediate);
    await expect.poll(() => controller.paused).toBe(false);
  }
  body.complete();
  await read;
  expect(sent).toBe(2_560);
  expect(pieces.reduce((sum, bytes) => sum + bytes, 0)).toBe(sent);
  expect(pieces.length).toBeLessThanOrEqual(10);
});

describe('the idle timeout', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
  afterEach(() => void vi.useRealTimers());

  test('a slow reader does not make the upstream look silent', async () => {
    const { body, controller } = start();
    body.receive(mebibyte);
    vi.advanceTimersByTime(10 * idleMs);
    expect(controller.aborts).toEqual([]);

    body.read();
    expect(controller.paused).toBe(false);
    vi.advanceTimersByTime(idleMs - 1);
    expect(controller.aborts).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(controller.aborts).toEqual([expect.objectContaining({ reason: 'timeout' })]);
    await expect(buffer(body)).rejects.toMatchObject({ reason: 'timeout' });
  });

  test('a slow upstream that never falls silent may take as long as it needs', async () => {
    const { body, controller } = start();
    for (let piece = 0; piece < 10; piece += 1) {
      vi.advanceTimersByTime(idleMs - 1);
      body.receive(Buffer.from('x'));
    }
    body.complete();

    expect(await buffer(body)).toHaveLength(10);
    expect(controller.aborts).toEqual([]);
  });
});

test.each([
  { header: 'bytes 5-9/20', expected: { start: 5, end: 9, size: 20 } },
  { header: 'Bytes  5-9/*', expected: { start: 5, end: 9, size: undefined } },
  { header: 'bytes */20', expected: { start: undefined, end: undefined, size: 20 } },
  { header: 'bytes 5-/20', expected: undefined },
  { header: 'lines 5-9/20', expected: undefined },
  { header: '', expected: undefined },
])('Content-Range: $header is $expected', ({ header, expected }) => {
  expect(contentRangeOf({ 'content-range': header })).toEqual(expected);
});

test.each([
  { header: '0', expected: 0 },
  { header: '20', expected: 20 },
  { header: '-1', expected: undefined },
  { header: '1e3', expected: undefined },
  { header: '9'.repeat(30), expected: undefined },
  { header: undefined, expected: undefined },
])('Content-Length: $header is $expected', ({ header, expected }) => {
  expect(contentLengthOf({ 'content-length': header })).toBe(expected);
});
