import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import type { BorrowedBuffer } from '../../../../src/mirror/ports/byte-source.ts';
import { type Readable, SharedReads } from '../../../../src/mirror/transfers/shared-reads.ts';
import { gate } from '../../../support/gate.ts';
import { randomBytes } from '../../../support/images.ts';

const pieceBytes = 1000;
const blob = randomBytes(20 * pieceBytes + 300, 'shared');

/** The blob, which counts what is read of it and by whom. */
class CountedBlob {
  readonly reads: number[] = [];
  before: (position: number) => Promise<void> = async () => {};
  /** At most this many bytes come with one read. */
  most = Infinity;

  handle(): Readable {
    return {
      read: async (into, position) => {
        this.reads.push(position);
        await this.before(position);
        return blob.copy(into, 0, position, position + Math.min(into.byteLength, this.most));
      },
    };
  }
}

function share({ maxBytes = 1000 * pieceBytes }: { readonly maxBytes?: number } = {}) {
  const memory = new MemoryBudget({ maxBytes });
  const reads = new SharedReads({ memory, pieceBytes });
  const file = new CountedBlob();
  const window = reads.window();
  const reader = () => {
    const joined = window.join(file.handle());
    return {
      borrow: (position: number, maxBorrowed = Infinity) => joined.borrow(position, maxBorrowed, blob.length),
      leave: () => joined[Symbol.dispose](),
    };
  };
  return { memory, reads, file, reader };
}

function bytesOf(borrowed: BorrowedBuffer | undefined): Buffer {
  return Buffer.concat(borrowed?.pieces ?? []);
}

/** Reads up to `to`, as a client at its own pace does. @returns the bytes. */
async function readTo(
  reader: { readonly borrow: (position: number) => Promise<BorrowedBuffer | undefined> },
  { from, to }: { readonly from: number; readonly to: number },
): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (let position = from; position < to; ) {
    const borrowed = await reader.borrow(position);
    if (!borrowed) throw new Error(`nothing could be borrowed at ${position}`);
    parts.push(bytesOf(borrowed));
    position += borrowed.bytes;
    borrowed.end();
  }
  return Buffer.concat(parts);
}

test('thirty readers of one blob cost one read of each piece, and each gets the right bytes', async () => {
  const { reader, file, memory, reads } = share();
  file.most = 700;
  const readers = Array.from({ length: 30 }, reader);
  const all = await Promise.all(readers.map((one) => readTo(one, { from: 0, to: blob.length })));
  for (const bytes of all) expect(bytes.equals(blob)).toBe(true);
  expect(new Set(file.reads).size).toBe(file.reads.length);
  for (const one of readers) one.leave();
  expect([reads.heldBytes, memory.reservedBytes]).toEqual([0, 0]);
});

test('a reader close behind another gets the pieces that the other one has read', async () => {
  const { reader, file } = share();
  const [first, second] = [reader(), reader()];
  await readTo(second, { from: 0, to: pieceBytes });
  await readTo(first, { from: 0, to: 6 * pieceBytes });
  const reads = file.reads.length;
  await readTo(second, { from: pieceBytes, to: 6 * pieceBytes });
  expect(file.reads.length).toBe(reads);
});

test('a reader that falls far behind reads by itself, and no other reader waits for it', async () => {
  const { reader, file, reads } = share();
  const [fast, slow] = [reader(), reader()];
  const kept = await slow.borrow(0);
  await readTo(fast, { from: 0, to: 20 * pieceBytes });
  expect(reads.heldBytes).toBeLessThanOrEqual(12 * pieceBytes);
  expect(bytesOf(kept).equals(blob.subarray(0, pieceBytes))).toBe(true);
  kept?.end();
  const before = file.reads.length;
  expect(await readTo(slow, { from: pieceBytes, to: blob.length })).toEqual(blob.subarray(pieceBytes));
  expect(file.reads.length - before).toBeGreaterThan(5);
});

test('a piece that nobody reads next is freed when its last borrower returns it, and its memory is used again', async () => {
  const { reader, reads, memory } = share();
  const one = reader();
  for (let index = 0; index < 10; index += 1)
    await readTo(one, { from: index * pieceBytes, to: (index + 1) * pieceBytes });
  expect(reads.heldBytes).toBeLessThanOrEqual(3 * pieceBytes);
  const last = await one.borrow(10 * pieceBytes);
  one.leave();
  expect(bytesOf(last).equals(blob.subarray(10 * pieceBytes, 11 * pieceBytes))).toBe(true);
  last?.end();
  last?.end();
  expect([reads.heldBytes, memory.reservedBytes]).toEqual([0, 0]);
});

test('a read that fails reaches every reader that shares it, and the next one reads again', async () => {
  const { reader, file, reads } = share();
  const disk = gate();
  file.before = async () => {
    await disk.opened;
    throw new Error('EIO');
  };
  const [one, other] = [reader(), reader()];
  const both = [one.borrow(0), other.borrow(0)].map((borrowing) => expect(borrowing).rejects.toThrow('EIO'));
  disk.open();
  await Promise.all(both);
  expect([file.reads.length, reads.heldBytes]).toEqual([1, 0]);
  file.before = async () => {};
  expect((await other.borrow(0))?.bytes).toBe(pieceBytes);
});

test('a blob that is shorter than its size is an error for all who share the read', async () => {
  const { reader, file } = share();
  file.most = 0;
  const [one, other] = [reader(), reader()];
  const both = [one.borrow(pieceBytes), other.borrow(pieceBytes)];
  for (const borrowing of both) await expect(borrowing).rejects.toThrow('the content ended at 1000');
});

test('a reader that leaves while it reads for others takes nothing from them', async () => {
  const { reader, file } = share();
  const disk = gate();
  file.before = async () => {
    await disk.opened;
    file.before = async () => {};
    throw new Error('the file is closed');
  };
  const [leaving, staying] = [reader(), reader()];
  const left = leaving.borrow(0).catch(() => 'failed');
  const stays = staying.borrow(0);
  leaving.leave();
  disk.open();
  await left;
  expect(bytesOf(await stays).equals(blob.subarray(0, pieceBytes))).toBe(true);
  expect(await leaving.borrow(pieceBytes)).toBeUndefined();
});

test('a small part of a piece is borrowed if the piece is there, and not read for it', async () => {
  const { reader, file } = share();
  const [whole, part] = [reader(), reader()];
  expect(await part.borrow(100, 50)).toBeUndefined();
  expect(await part.borrow(100, 499)).toBeUndefined();
  expect(file.reads).toEqual([]);
  const held = await whole.borrow(0);
  expect(bytesOf(await part.borrow(100, 50)).equals(blob.subarray(100, 150))).toBe(true);
  held?.end();
  expect(bytesOf(await part.borrow(2 * pieceBytes + 100, 500)).equals(blob.subarray(2100, 2600))).toBe(true);
  expect((await whole.borrow(20 * pieceBytes))?.bytes).toBe(300);
  expect(await whole.borrow(blob.length)).toBeUndefined();
});

test('without room in the memory budget nothing is borrowed, after pieces that nobody borrows are dropped', async () => {
  const { reader, reads, memory } = share({ maxBytes: 32 * pieceBytes }); // Four pieces.
  const [one, other] = [reader(), reader()];
  const first = await one.borrow(0);
  await readTo(other, { from: pieceBytes, to: 4 * pieceBytes }); // Kept for the one.
  const held = [];
  for (let index = 10; index < 13; index += 1) held.push(await other.borrow(index * pieceBytes));
  expect(held.map((borrowed) => borrowed?.bytes)).toEqual([pieceBytes, pieceBytes, pieceBytes]);
  expect(await other.borrow(15 * pieceBytes)).toBeUndefined();
  expect(reads.heldBytes).toBe(4 * pieceBytes);
  first?.end();
  expect((await other.borrow(15 * pieceBytes))?.bytes).toBe(pieceBytes);
  const needed = memory.tryReserve(28 * pieceBytes);
  expect(needed).toBeDefined();
  expect(memory.reservedBytes).toBe(32 * pieceBytes);
});

interface PlayedReader {
  reader: ReturnType<ReturnType<typeof share>['reader']>;
  at: number;
  readonly held: BorrowedBuffer[];
}

/** Borrows the next bytes. @throws when they are wrong. */
async function borrowNext(one: PlayedReader): Promise<void> {
  const borrowed = await one.reader.borrow(one.at);
  const bytes = bytesOf(borrowed);
  if (!bytes.equals(blob.subarray(one.at, one.at + bytes.length))) throw new Error(`wrong bytes at ${one.at}`);
  if (borrowed) one.held.push(borrowed);
  one.at = (one.at + bytes.length) % blob.length;
}

test('whatever readers do, each gets the right bytes, and the memory stays within an eighth of the budget', async () => {
  const step = fc.record({
    who: fc.nat(4),
    what: fc.constantFrom('read', 'return', 'jump', 'leave'),
    to: fc.nat(blob.length - 1),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const { reader, reads, memory } = share({ maxBytes: 64 * pieceBytes });
      const readers = Array.from({ length: 5 }, (): PlayedReader => ({ reader: reader(), at: 0, held: [] }));
      const act = async (one: PlayedReader, { what, to }: { what: string; to: number }) => {
        if (what === 'read') return borrowNext(one);
        if (what === 'return') return one.held.shift()?.end();
        if (what === 'jump') one.at = to;
        else one.reader.leave();
        if (what === 'leave') one.reader = reader();
      };
      for (const { who, ...does } of steps) {
        for (const one of readers.slice(who, who + 1)) await act(one, does);
        expect(reads.heldBytes).toBeLessThanOrEqual(8 * pieceBytes);
        expect(memory.reservedBytes).toBe(reads.heldBytes);
      }
      for (const { reader: last, held } of readers) {
        last.leave();
        for (const borrowed of held) borrowed.end();
      }
      expect([reads.heldBytes, memory.reservedBytes]).toEqual([0, 0]);
    }),
  );
});
