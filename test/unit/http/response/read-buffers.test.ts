import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import { ReadBuffers } from '../../../../src/http/response/read-buffers.ts';

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
