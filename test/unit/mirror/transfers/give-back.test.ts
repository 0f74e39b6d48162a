import { expect, test } from 'vitest';
import { giveBack } from '../../../../src/mirror/transfers/give-back.ts';

test('a piece that has its buffer to itself is freed at once', () => {
  const piece = new Uint8Array(65_536);
  giveBack(piece);
  expect(piece.byteLength).toBe(0);
});

test('a piece that shares its buffer with others is left alone', () => {
  const whole = new Uint8Array(65_536).fill(7);
  giveBack(whole.subarray(1));
  expect(whole.byteLength).toBe(65_536);
  expect(whole[65_535]).toBe(7);
});
