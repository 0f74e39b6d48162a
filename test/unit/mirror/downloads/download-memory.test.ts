import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { gate } from '../../../support/gate.ts';
import { randomBytes } from '../../../support/images.ts';
import { MemoryIncoming } from '../../../support/memory-incoming.ts';
import { readAll, startDownload } from '../../../support/start-download.ts';

const kibibyte = 1024;
const pieceBytes = 64 * kibibyte;
const blob = randomBytes(40 * pieceBytes, 'memory');
const pieces = Array.from({ length: 40 }, (_, index) => blob.subarray(index * pieceBytes, (index + 1) * pieceBytes));

/** A download whose pieces are all there, and whose disk waits for the gate. */
async function start(memory: MemoryBudget) {
  const writing = gate();
  const answer = new Readable({ highWaterMark: 2 * blob.byteLength, read: () => {} });
  for (const piece of pieces) answer.push(Buffer.from(piece)); // The download frees what it has written.
  answer.push(null);
  const readNext = answer.read.bind(answer);
  let pulled = 0;
  answer.read = (size) => {
    const piece: unknown = readNext(size);
    if (piece) pulled += 1;
    return piece;
  };
  const incoming = new MemoryIncoming({ beforeAppend: () => writing.opened });
  const first = { body: answer, offset: 0, size: blob.byteLength };
  const started = await startDownload({ digest: digestOf(blob), size: blob.byteLength, first, incoming, memory });
  return { ...started, writing, pulled: () => pulled };
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 100; turn += 1) await new Promise(setImmediate);
}

test('while the disk is slow a download buffers at most two writes', async () => {
  const memory = new MemoryBudget({ maxBytes: 64 * 1024 * kibibyte });
  const { download, writing, pulled } = await start(memory);
  await settled();
  expect(pulled() * pieceBytes).toBe(2 * 1024 * kibibyte);
  expect(memory.reservedBytes).toBe(2 * 1024 * kibibyte);
  writing.open();
  expect(await download.ended).toMatchObject({ result: 'ok' });
  expect(memory.reservedBytes).toBe(0);
});

test('with little memory a download takes one piece at a time, and still completes', async () => {
  const memory = new MemoryBudget({ maxBytes: 1_000 });
  const { download, writing, pulled } = await start(memory);
  const reader = readAll(download.join());
  await settled();
  expect(pulled()).toBe(1);
  writing.open();
  expect(await download.ended).toMatchObject({ result: 'ok' });
  expect((await reader).equals(blob)).toBe(true);
  expect(memory.reservedBytes).toBe(0);
});

test('borrowed buffers count until their readers return them', async () => {
  const memory = new MemoryBudget({ maxBytes: 64 * 1024 * kibibyte });
  const { download, writing } = await start(memory);
  const reader = download.join();
  const borrowing = reader.borrow?.(0, pieceBytes);
  writing.open();
  const borrowed = await borrowing;
  expect(borrowed?.bytes).toBeGreaterThan(0);
  await download.ended;
  expect(memory.reservedBytes).toBe(pieceBytes);
  borrowed?.end();
  expect(memory.reservedBytes).toBe(0);
  await reader[Symbol.asyncDispose]();
});
