import { expect, test } from 'vitest';
import { contentLengthOf, contentRangeOf, retryAfterSecondsOf } from '../../../../src/upstream/api/answer-headers.ts';

const now = Date.UTC(2030, 0, 1);

test.each([
  { header: '120', expected: 120 },
  { header: ' 120 ', expected: 120 },
  { header: '0', expected: 0 },
  { header: 'Tue, 01 Jan 2030 00:01:30 GMT', expected: 90 },
  { header: 'Mon, 31 Dec 2029 23:00:00 GMT', expected: 0 },
  { header: '99999999', expected: 86_400 },
  { header: String(now / 1_000 + 30), expected: 30 },
  { header: String(now + 30_000), expected: 30 },
  { header: String(now / 1_000 - 30), expected: 0 },
  { header: String(now / 1_000 + 1_000_000), expected: 86_400 },
  { header: '1.5', expected: 2 },
  { header: 'Tue Jan  1 00:01:30 2030 GMT', expected: 90 },
  { header: '2030-01-01T00:01:30Z', expected: 90 },
  { header: '-5', expected: undefined },
  { header: '+7', expected: undefined },
  { header: '120;', expected: undefined },
  { header: 'soon', expected: undefined },
  { header: '', expected: undefined },
  { header: undefined, expected: undefined },
])('Retry-After: $header means $expected seconds', ({ header, expected }) => {
  expect(retryAfterSecondsOf({ 'retry-after': header }, now)).toBe(expected);
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
