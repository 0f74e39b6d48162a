import { expect, test } from 'vitest';
import { decideAnswer } from '../../../../src/http/response/conditions.ts';
import { parseDigest } from '../../../../src/oci/digest.ts';

const digest = parseDigest(`sha256:${'0a'.repeat(32)}`);
const etag = `"${digest}"`;
const part = (start: number, end: number) => ({ status: 206, range: expect.objectContaining({ start, end }) });

test.each([
  { headers: {}, expected: { status: 200 } },
  { headers: { range: 'bytes=0-9' }, expected: part(0, 9) },
  { headers: { range: 'bytes=200-' }, expected: { status: 416 } },
  {
    headers: { range: 'bytes=0-1,3-4' },
    expected: {
      status: 206,
      size: 100,
      ranges: [
        { start: 0, end: 1, isOpenEnded: false },
        { start: 3, end: 4, isOpenEnded: false },
      ],
    },
  },
  { headers: { range: 'bytes=0-1,3-4', 'if-range': '"other"' }, expected: { status: 200 } },
  { headers: { range: 'bytes=0-9', 'if-range': etag }, expected: part(0, 9) },
  { headers: { range: 'bytes=0-9', 'if-range': `W/${etag}` }, expected: { status: 200 } },
  { headers: { range: 'bytes=0-9', 'if-range': '"other"' }, expected: { status: 200 } },
  { headers: { 'if-none-match': etag }, expected: { status: 304 } },
  { headers: { 'if-none-match': `"other", W/${etag}` }, expected: { status: 304 } },
  { headers: { 'if-none-match': ' * ' }, expected: { status: 304 } },
  { headers: { 'if-none-match': digest }, expected: { status: 200 } },
  { headers: { 'if-none-match': '"other"', range: 'bytes=0-9' }, expected: part(0, 9) },
  { headers: { 'if-none-match': etag, range: 'bytes=200-' }, expected: { status: 304 } },
])('a GET with $headers of 100 bytes', ({ headers, expected }) => {
  expect(decideAnswer({ method: 'GET', headers }, digest, 100)).toEqual(expected);
});

test('content of unknown size has no ranges', () => {
  expect(decideAnswer({ method: 'GET', headers: { range: 'bytes=0-9' } }, digest, undefined)).toEqual({ status: 200 });
});

test('a HEAD has no ranges', () => {
  expect(decideAnswer({ method: 'HEAD', headers: { range: 'bytes=0-9' } }, digest, 100)).toEqual({ status: 200 });
});
