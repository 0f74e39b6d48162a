import { expect, test } from 'vitest';
import { rangeOfRunning } from '../../../../src/mirror/blobs/parts-ahead.ts';

const mebibyte = 1024 * 1024;

test.each([
  { what: 'has been written', start: 0, length: 100, writtenBytes: 1_000, expected: 'follow' },
  { what: 'comes next', start: 1_000, length: 100, writtenBytes: 1_000, expected: 'follow' },
  { what: 'is 64 MiB ahead', start: 64 * mebibyte, length: 100, writtenBytes: 0, expected: 'follow' },
  { what: 'is further ahead', start: 64 * mebibyte + 1, length: 100, writtenBytes: 0, expected: 'relay' },
  {
    what: 'is 64 MiB ahead of the last written byte',
    start: 100 * mebibyte,
    length: 100,
    writtenBytes: 36 * mebibyte,
    expected: 'follow',
  },
  {
    what: 'is far ahead, and 8 MiB long',
    start: 100 * mebibyte,
    length: 8 * mebibyte,
    writtenBytes: 0,
    expected: 'relay',
  },
  {
    what: 'is far ahead, and longer',
    start: 100 * mebibyte,
    length: 8 * mebibyte + 1,
    writtenBytes: 0,
    expected: 'follow',
  },
])('a range that $what: $expected', ({ start, length, writtenBytes, expected }) => {
  expect(rangeOfRunning({ start, end: start + length - 1, isOpenEnded: false }, writtenBytes)).toBe(expected);
});

test('a range without an end follows the download, because its reader may stop early', () => {
  expect(rangeOfRunning({ start: 100 * mebibyte, end: 100 * mebibyte, isOpenEnded: true }, 0)).toBe('follow');
});
