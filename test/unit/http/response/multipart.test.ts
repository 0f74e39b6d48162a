import { expect, test } from 'vitest';
import { multipartOf } from '../../../../src/http/response/multipart.ts';

const range = (start: number, end: number) => ({ start, end, isOpenEnded: false });
const content = { mediaType: 'text/plain', size: 100 };

test('a multipart body has the format of RFC 9110, and its length is known beforehand', () => {
  const { contentType, contentLength, parts, tail } = multipartOf([range(0, 4), range(90, 99)], content, 'limit');
  const body = parts.map(({ head, range: { start, end } }) => head + 'x'.repeat(end - start + 1)).join('') + tail;
  expect(contentType).toBe('multipart/byteranges; boundary=limit');
  expect(body).toBe(
    [
      '--limit',
      'Content-Type: text/plain',
      'Content-Range: bytes 0-4/100',
      '',
      'xxxxx',
      '--limit',
      'Content-Type: text/plain',
      'Content-Range: bytes 90-99/100',
      '',
      'xxxxxxxxxx',
      '--limit--',
      '',
    ].join('\r\n'),
  );
  expect(contentLength).toBe(body.length);
});

test('every response has its own boundary, of characters that containers/image accepts without quotes', () => {
  const types = [1, 2].map(() => multipartOf([range(0, 4)], content).contentType);
  expect(new Set(types).size).toBe(2);
  for (const type of types) expect(type).toMatch(/^multipart\/byteranges; boundary=[A-Za-z0-9-]{20,70}$/);
});
