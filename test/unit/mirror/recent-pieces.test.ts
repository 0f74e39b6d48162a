import { describe, expect, it } from 'vitest';
import { RecentPieces } from '../../../src/mirror/recent-pieces.ts';

const pieceOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (pieces: readonly Uint8Array[] | undefined): string | undefined =>
  pieces?.map((piece) => Buffer.from(piece).toString()).join('');
const isGivenBack = (piece: Uint8Array): boolean => piece.byteLength === 0;

describe('the pieces written last', () => {
  it('are lent from any position, over their borders, up to what is wanted', () => {
    const recent = new RecentPieces({ maxBytes: 100 });
    recent.add([pieceOf('abc'), pieceOf('def')], 10);
    recent.add([pieceOf('ghi')], 16);
    expect(textOf(recent.lend(10, 100)?.pieces)).toBe('abcdefghi');
    expect(textOf(recent.lend(12, 5)?.pieces)).toBe('cdefg');
    expect(recent.lend(12, 5)?.bytes).toBe(5);
    expect(textOf(recent.lend(18, 1)?.pieces)).toBe('i');
  });

  it('are not lent where they begin later, or do not reach yet', () => {
    const recent = new RecentPieces({ maxBytes: 100 });
    recent.add([pieceOf('abc')], 10);
    expect(recent.lend(9, 5)).toBeUndefined();
    expect(recent.lend(13, 5)).toBeUndefined();
  });

  it('are given back when newer ones need the room', () => {
    const recent = new RecentPieces({ maxBytes: 6 });
    const [first, second, third] = [pieceOf('abc'), pieceOf('def'), pieceOf('ghi')];
    recent.add([first, second, third], 0);
    expect([first, second, third].map(isGivenBack)).toEqual([true, false, false]);
    expect(recent.lend(0, 3)).toBeUndefined();
  });

  it('are given back when the last loan ends, and not before', () => {
    const recent = new RecentPieces({ maxBytes: 3 });
    const piece = pieceOf('abc');
    recent.add([piece], 0);
    const [one, another] = [recent.lend(0, 2), recent.lend(1, 2)];
    recent.add([pieceOf('def')], 3);
    one?.end();
    one?.end(); // A loan that ended twice must not end another's.
    expect(isGivenBack(piece)).toBe(false);
    expect(textOf(another?.pieces)).toBe('bc');
    another?.end();
    expect(isGivenBack(piece)).toBe(true);
  });

  it('stay when a loan of them ends while they are recent', () => {
    const recent = new RecentPieces({ maxBytes: 3 });
    const piece = pieceOf('abc');
    recent.add([piece], 0);
    recent.lend(0, 3)?.end();
    expect(textOf(recent.lend(0, 3)?.pieces)).toBe('abc');
  });

  it('are not lent while clients that stall hold more than as much again', () => {
    const recent = new RecentPieces({ maxBytes: 3 });
    const held = ['abc', 'def'].map((text, i) => {
      recent.add([pieceOf(text)], i * 3);
      return recent.lend(i * 3, 3);
    });
    recent.add([pieceOf('ghi')], 6);
    expect(recent.lend(6, 3)).toBeUndefined();
    held[0]?.end();
    expect(textOf(recent.lend(6, 3)?.pieces)).toBe('ghi');
  });

  it('are given back at the end, but for those on loan', () => {
    const recent = new RecentPieces({ maxBytes: 100 });
    const [lent, unused] = [pieceOf('abc'), pieceOf('def')];
    recent.add([lent, unused], 0);
    const loan = recent.lend(0, 3);
    recent.clear();
    expect([lent, unused].map(isGivenBack)).toEqual([false, true]);
    loan?.end();
    expect(isGivenBack(lent)).toBe(true);
  });
});
