import { expect, test } from 'vitest';
import { AnswerReader } from '../../../bench/clients/answer-reader.ts';

function readAll(pieces: readonly string[]): { readonly body: string; readonly ended: readonly boolean[] } {
  let body = '';
  const reader = new AnswerReader((piece) => {
    body += Buffer.from(piece).toString();
  });
  return { ended: pieces.map((piece) => reader.take(Buffer.from(piece))), body };
}

const head = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n';

test('a body is found after its head, wherever the chunks are split', () => {
  for (let cut = 1; cut < head.length + 5; cut++) {
    const whole = `${head}bytes`;
    const { body, ended } = readAll([whole.slice(0, cut), whole.slice(cut)]);
    expect({ cut, body, ended }).toEqual({ cut, body: 'bytes', ended: [false, true] });
  }
});

test('a second answer on the same connection is read like the first', () => {
  const second = 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend';
  expect(readAll([`${head}bytes`, second])).toEqual({ body: 'bytesend', ended: [true, true] });
});

test.each([
  ['another status', 'HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\nbytes', /answered HTTP\/1.1 206/],
  ['no length', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', /answered HTTP\/1.1 200/],
  ['more bytes than announced', `${head}bytes and more`, /more bytes/],
])('%s ends the bench instead of being counted', (_, answer, message) => {
  expect(() => readAll([answer])).toThrow(message);
});
