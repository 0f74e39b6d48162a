import fc from 'fast-check';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { fuzzedApp, healthy } from './fuzzed-app.ts';
import { getText, repository, request, textOf } from './request-text.ts';
import { expectAlways } from './runs.ts';
import { sendBytes, statusesIn } from './wire.ts';

const app = fuzzedApp();
beforeAll(() => app.start());
beforeEach(() => app.forgetPaths());

const goodbye = (): string => getText(app.host, '/v2/', ['Connection: close']);
const smuggled = (): string => getText(app.host, `/v2/${repository}/manifests/smuggled`);

async function expectUnharmed(): Promise<void> {
  expect(app.paths().filter((path) => path.includes('smuggled'))).toEqual([]);
  expect(await app.health()).toEqual(healthy);
}

test.each([1, 50, 150, 210, 500, 2_100, 2_500])(
  'a request with %i headers and a body that looks like a request gets one answer',
  async (count) => {
    const flood = Array.from({ length: count }, () => 'a: ');
    const body = smuggled();
    const { answers, end } = await app.send(
      getText(app.host, '/v2/', [...flood, `Content-Length: ${body.length}`]) + body,
    );
    expect(answers.map(({ status }) => status)).toEqual([count < 200 ? 200 : 431]);
    expect(end).toBe('closed');
    await expectUnharmed();
  },
);

/** Header lines and a body behind them that holds a request. */
type Framing = readonly [lines: readonly string[], body: (inner: string) => string];
const plain = (inner: string): string => inner;
const afterLastChunk = (inner: string): string => `0\r\n\r\n${inner}`;
const framings: readonly Framing[] = [
  [['Content-Length: 5', 'Transfer-Encoding: chunked'], afterLastChunk],
  [['Transfer-Encoding: chunked', 'Content-Length: 5'], afterLastChunk],
  [['Transfer-Encoding : chunked'], afterLastChunk],
  [['Transfer-Encoding: xchunked'], afterLastChunk],
  [['Transfer-Encoding: identity'], plain],
  [['Transfer-Encoding: chunked, identity'], plain],
  [['Content-Length: 0', 'Content-Length: 200'], plain],
  [['Content-Length: 40'], plain],
  [['Content-Length: +40'], plain],
  [['Content-Length: 0x10'], plain],
  [['Content-Length: 99999999999999999999'], plain],
  [['Content-Length: -1'], plain],
  [['Expect: 100-continue', 'Content-Length: 40'], plain],
  [['Expect: something', 'Content-Length: 40'], plain],
];
const extensions = ['', ';a', ';a=b', ';a="b"', ';', ';;', ';\r', ';\n', ' ', '\t', ';a\0', `;${'x'.repeat(20_000)}`];
const inChunks = fc
  .constantFrom(...extensions)
  .map(
    (extension): Framing => [
      ['Transfer-Encoding: chunked'],
      (inner) => `${inner.length.toString(16)}${extension}\r\n${inner}\r\n0\r\n\r\n`,
    ],
  );
const inOddChunks = fc
  .constantFrom('FFFFFFFFFFFFFFFFF', '-1', 'g', '')
  .map((size): Framing => [['Transfer-Encoding: chunked'], (inner) => `${size}\r\n${inner}`]);

test('the content of a body is never taken for a request, however it is framed', async () => {
  const framing = fc.oneof(fc.constantFrom(...framings), inChunks, inOddChunks);
  const verb = fc.constantFrom('GET', 'HEAD', 'POST', 'PUT', 'DELETE');
  const asked = fc.asyncProperty(verb, framing, async (method, [lines, body]) => {
    const text = textOf(app.host, { method, target: '/v2/', headers: [] }, lines) + body(smuggled());
    const { received, end } = await sendBytes(app.host, Buffer.from(text, 'latin1'), { silentMs: 150 });
    const statuses = statusesIn(received).filter((status) => status !== 100);
    expect(statuses.length).toBeLessThanOrEqual(end === 'closed' ? 1 : 0);
    expect([undefined, 200, 400, 405, 413, 417]).toContain(statuses[0]);
  });
  await expectAlways(asked, 80);
  await expectUnharmed();
});

test.each([
  ['Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__', 'Connection: Upgrade, HTTP2-Settings'],
  ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13'],
  ['Upgrade: TLS/1.0', 'Connection: Upgrade'],
])('the mirror never switches protocols: %s', async (...headers) => {
  const { answers, end } = await app.send(getText(app.host, '/v2/', headers) + goodbye());
  expect(answers.map(({ status }) => status)).toEqual([200]);
  expect(end).toBe('closed');
  await expectUnharmed();
});

test.each([
  'http://evil.test/v2/',
  'https://ghcr.io/v2/library/app/manifests/1',
  '*',
  'evil.test:443',
  '//evil.test/v2/',
])('the target %s reaches no upstream', async (target) => {
  for (const method of ['GET', 'OPTIONS', 'CONNECT']) {
    const text = textOf(app.host, { method, target, headers: [] }, ['Connection: close']);
    const { received, end } = await sendBytes(app.host, Buffer.from(text, 'latin1'));
    expect(statusesIn(received).filter((status) => status < 400)).toEqual([]);
    expect(end).toBe('closed');
  }
  expect(app.paths()).toEqual([]);
  await expectUnharmed();
});

type Change = 'put' | 'drop' | 'cut' | 'double';

function changed(bytes: Buffer, at: number, kind: Change, byte: number): Buffer {
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  switch (kind) {
    case 'put':
      return Buffer.concat([before, Buffer.from([byte]), after]);
    case 'drop':
      return Buffer.concat([before, after.subarray(1)]);
    case 'cut':
      return before.length === 0 ? bytes : before;
    case 'double':
      return Buffer.concat([before, after.subarray(0, byte), after]);
  }
}

test('changed, lost or inserted bytes break nothing', async () => {
  const byte = fc.oneof(fc.constantFrom(0, 0x0a, 0x0d, 0x20, 0x3a, 0x09, 0x7f, 0xff), fc.nat({ max: 255 }));
  const kind = fc.constantFrom<Change>('put', 'drop', 'cut', 'double');
  const changes = fc.array(fc.tuple(fc.nat({ max: 10_000 }), kind, byte), { minLength: 1, maxLength: 4 });
  const asked = fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 2 }), changes, async (requests, all) => {
    let bytes: Buffer = Buffer.from(requests.map((one) => textOf(app.host, one)).join('') + goodbye(), 'latin1');
    for (const [at, what, value] of all) bytes = changed(bytes, at % bytes.length, what, value);
    const { received } = await sendBytes(app.host, bytes, { silentMs: 100 });
    expect(statusesIn(received).filter((status) => status === 500)).toEqual([]);
  });
  await expectAlways(asked, 70);
  await expectUnharmed();
});

test('random bytes break nothing', async () => {
  const asked = fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 400 }), async (bytes) => {
    const { received } = await sendBytes(app.host, Buffer.from(bytes), { silentMs: 100 });
    expect(statusesIn(received).filter((status) => status !== 400)).toEqual([]);
  });
  await expectAlways(asked, 60);
  await expectUnharmed();
});
