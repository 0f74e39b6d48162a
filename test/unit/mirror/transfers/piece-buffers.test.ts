import { describe, expect, it } from 'vitest';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import { freeMemory, GatheredWrites, RecentPieces } from '../../../../src/mirror/transfers/piece-buffers.ts';

const third = 4096;
/** The size of every piece. */
const unit = 3 * third;
const pieceOf = (letter: string): Uint8Array => new Uint8Array(unit).fill(letter.charCodeAt(0));
/** One letter for each third of a piece. */
const textOf = (pieces: readonly Uint8Array[] | undefined): string | undefined => {
  if (!pieces) return undefined;
  const bytes = Buffer.concat(pieces);
  return Array.from({ length: bytes.length / third }, (_, i) => String.fromCharCode(bytes[i * third] ?? 0)).join('');
};
const memory = new MemoryBudget({ maxBytes: 10_000 * unit });
const isReturned = (piece: Uint8Array): boolean => piece.byteLength === 0;

describe('the pieces written last', () => {
  it('are borrowed from any position, across their borders, up to the requested length', () => {
    const recent = new RecentPieces({ maxBytes: 100 * unit, memory });
    recent.add([pieceOf('a'), pieceOf('b')], 10);
    recent.add([pieceOf('c')], 10 + 2 * unit);
    expect(textOf(recent.borrow(10, 100 * unit)?.pieces)).toBe('aaabbbccc');
    expect(textOf(recent.borrow(10 + 2 * third, 5 * third)?.pieces)).toBe('abbbc');
    expect(recent.borrow(10 + 2 * third, 5 * third)?.bytes).toBe(5 * third);
    expect(recent.borrow(10 + 3 * unit - 1, 1)?.bytes).toBe(1);
  });

  it('are not borrowed at a position before or after them', () => {
    const recent = new RecentPieces({ maxBytes: 100 * unit, memory });
    recent.add([pieceOf('a')], 10);
    expect(recent.borrow(9, 5)).toBeUndefined();
    expect(recent.borrow(10 + unit, 5)).toBeUndefined();
  });

  it('are borrowed up to a small piece, which is cheaper to read back', () => {
    const recent = new RecentPieces({ maxBytes: 100 * unit, memory });
    const small = new Uint8Array(100);
    recent.add([pieceOf('a'), small, pieceOf('b')], 0);
    expect(isReturned(small)).toBe(true);
    expect(recent.borrow(0, 100 * unit)?.bytes).toBe(unit);
    expect(recent.borrow(unit, 100)).toBeUndefined();
    expect(textOf(recent.borrow(unit + 100, 100 * unit)?.pieces)).toBe('bbb');
  });

  it('are returned when newer pieces need the room', () => {
    const recent = new RecentPieces({ maxBytes: 2 * unit, memory });
    const pieces = [pieceOf('a'), pieceOf('b'), pieceOf('c')];
    recent.add(pieces, 0);
    expect(pieces.map(isReturned)).toEqual([true, false, false]);
    expect(recent.borrow(0, unit)).toBeUndefined();
  });

  it('are returned when the last borrower ends, and not before', () => {
    const recent = new RecentPieces({ maxBytes: unit, memory });
    const piece = pieceOf('a');
    recent.add([piece], 0);
    const [one, another] = [recent.borrow(0, 2 * third), recent.borrow(third, 2 * third)];
    recent.add([pieceOf('b')], unit);
    one?.end();
    one?.end(); // Ending twice must not end another borrower's.
    expect(isReturned(piece)).toBe(false);
    expect(textOf(another?.pieces)).toBe('aa');
    another?.end();
    expect(isReturned(piece)).toBe(true);
  });

  it('stay when a borrower ends while they are recent', () => {
    const recent = new RecentPieces({ maxBytes: unit, memory });
    recent.add([pieceOf('a')], 0);
    recent.borrow(0, unit)?.end();
    expect(textOf(recent.borrow(0, unit)?.pieces)).toBe('aaa');
  });

  it('are not borrowed while stalled clients hold as much again and more', () => {
    const recent = new RecentPieces({ maxBytes: unit, memory });
    const held = ['a', 'b'].map((letter, i) => {
      recent.add([pieceOf(letter)], i * unit);
      return recent.borrow(i * unit, unit);
    });
    recent.add([pieceOf('c')], 2 * unit);
    expect(recent.borrow(2 * unit, unit)).toBeUndefined();
    held[0]?.end();
    expect(textOf(recent.borrow(2 * unit, unit)?.pieces)).toBe('ccc');
  });

  it('are returned at the end, except for borrowed ones', () => {
    const recent = new RecentPieces({ maxBytes: 100 * unit, memory });
    const [borrowed, unused] = [pieceOf('a'), pieceOf('b')];
    recent.add([borrowed, unused], 0);
    const buffers = recent.borrow(0, unit);
    recent.clear();
    expect([borrowed, unused].map(isReturned)).toEqual([false, true]);
    buffers?.end();
    expect(isReturned(borrowed)).toBe(true);
  });

  it('count against the memory budget until they are returned, borrowed ones too', () => {
    const budget = new MemoryBudget({ maxBytes: 100 * unit });
    const recent = new RecentPieces({ maxBytes: unit, memory: budget });
    recent.add([pieceOf('a')], 0);
    const buffers = recent.borrow(0, unit);
    recent.add([pieceOf('b')], unit);
    expect(budget.reservedBytes).toBe(2 * unit);
    buffers?.end();
    expect(budget.reservedBytes).toBe(unit);
    recent.clear();
    expect(budget.reservedBytes).toBe(0);
  });

  it('are returned at once if the memory budget has no room', () => {
    const budget = new MemoryBudget({ maxBytes: 4 * unit });
    const others = budget.tryReserve(unit);
    const recent = new RecentPieces({ maxBytes: 100 * unit, memory: budget });
    const pieces = [pieceOf('a'), pieceOf('b'), pieceOf('c')];
    recent.add(pieces.slice(0, 2), 0);
    expect(pieces.slice(0, 2).map(isReturned)).toEqual([true, false]);
    const buffers = recent.borrow(unit, unit);
    others?.tryResize(4 * unit - budget.reservedBytes + unit);
    recent.add(pieces.slice(2), 2 * unit);
    expect(isReturned(pieces[2] ?? pieceOf('c'))).toBe(true);
    expect(textOf(buffers?.pieces)).toBe('bbb');
    expect(budget.reservedBytes).toBeLessThanOrEqual(4 * unit);
  });
});

it('how many bytes may be gathered is asked without reserving them', async () => {
  const budget = new MemoryBudget({ maxBytes: 4 * 1024 * 1024 });
  const others = budget.tryReserve(budget.maxBytes);
  const written = Promise.withResolvers<void>();
  const writes = new GatheredWrites({
    memory: budget,
    makeRoom: async () => {},
    append: () => written.promise,
    inTime: (writing) => writing,
    onWritten: () => {},
  });
  const added = writes.add([pieceOf('a')]);
  expect(writes.wantedBytes).toBe(1);
  others?.release();
  expect(writes.wantedBytes).toBe(1024 * 1024 - unit);
  expect(budget.reservedBytes).toBe(0);
  written.resolve();
  await added;
  await writes.end();
});

it('a piece with a buffer of its own is freed at once', () => {
  const piece = new Uint8Array(65_536);
  freeMemory(piece);
  expect(piece.byteLength).toBe(0);
});

it('a piece that shares its buffer with others is not freed', () => {
  const whole = new Uint8Array(65_536).fill(7);
  freeMemory(whole.subarray(1));
  expect(whole.byteLength).toBe(65_536);
  expect(whole[65_535]).toBe(7);
});
