import { METHODS } from 'node:http';
import fc from 'fast-check';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { image, randomBlob } from '../support/images.ts';
import { thisSuite } from '../support/owner.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { runs } from './runs.ts';
import { answersIn, sendBytes, statusesIn, type WireAnswer } from './wire.ts';

const repository = 'library/app';
const held = image();
const blob = randomBlob(1_000);
const owner = thisSuite();
let upstream: FakeRegistry;
let other: FakeRegistry;
let app: RunningApp;

beforeAll(async () => {
  upstream = await startFakeRegistry({ owner });
  other = await startFakeRegistry({ owner });
  for (const registry of [upstream, other]) {
    registry.content.add(repository, '1', held);
    registry.content.addBlob(repository, blob);
  }
  const upstreams = { 'docker.io': { url: upstream.url }, 'ghcr.io': { url: other.url } };
  app = await startApp({ defaultUpstream: 'docker.io', upstreams }, { owner });
  await ask(app, `/v2/${repository}/blobs/${blob.digest}`);
  await app.quiet();
});

beforeEach(() => {
  for (const registry of [upstream, other]) registry.forgetRequests();
});

// ── what is always true ─────────────────────────────────────────────────────────────────────────────────────────────

/** Never a bug of ours, never a challenge; a failure says what it is in the words of the spec. */
function expectHonest({ status, headers, body }: WireAnswer, method: string): void {
  expect([200, 206, 304, 400, 403, 404, 405, 408, 413, 416, 417, 431, 502, 503, 504]).toContain(status);
  expect(headers.has('www-authenticate')).toBe(false);
  if (status < 400 || method === 'HEAD') return;
  expect(headers.get('content-type')).toMatch(/^application\/json/);
  expect(JSON.parse(body.toString())).toMatchObject({ errors: [{ code: expect.stringMatching(/^[A-Z_]+$/) }] });
}

/** Whatever clients wrote, upstreams are only asked for what the spec allows. */
function expectOrderlyUpstreams(): void {
  const name = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
  const names = `${name}(?:/${name})*`;
  const what = `manifests/[\\w:.-]+|blobs/sha(?:256|512):[0-9a-f]+|referrers/sha(?:256|512):[0-9a-f]+|tags/list`;
  const path = new RegExp(`^/v2/${names}/(?:${what})$`);
  for (const request of [...upstream.requests, ...other.requests]) expect(request.path).toMatch(path);
}

async function expectAlive(): Promise<void> {
  expect((await ask(app, '/v2/')).status).toBe(200);
  expect(app.logLines.filter(({ msg }) => msg === 'bug')).toEqual([]);
}

// ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────

const visible = fc.string({ unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)) });
const words = [
  'v2',
  'library',
  'app',
  'manifests',
  'blobs',
  'referrers',
  'tags',
  'list',
  '_catalog',
  '_tags',
  '1',
  'latest',
  held.manifest.digest,
  blob.digest,
  held.manifest.digest.replace(':', '%3A'),
  held.manifest.digest.toUpperCase(),
  'sha256:',
  'sha512:00',
  '..',
  '.',
  '%2e%2e',
  '%2F',
  '%00',
  '%',
  '%zz',
  '%25',
  '@',
  '~',
  '\\',
  ':',
  '',
  'docker.io',
  'ghcr.io',
  '127.0.0.1',
  'http:',
  'a'.repeat(300),
];
const part = fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...words) }, { weight: 1, arbitrary: visible });
const resource = fc.constantFrom(
  `/v2/${repository}/manifests/1`,
  `/v2/${repository}/manifests/${held.manifest.digest}`,
  `/v2/${repository}/blobs/${blob.digest}`,
  `/v2/${repository}/tags/list`,
  `/v2/${repository}/referrers/${held.manifest.digest}`,
  '/v2/',
  '/v2/_catalog',
);
const path = fc.oneof(
  resource,
  fc.array(part, { maxLength: 7 }).map((parts) => `/${parts.join('/')}`),
  fc.array(part, { maxLength: 5 }).map((parts) => `/v2/${parts.join('/')}`),
);
const query = fc
  .array(
    fc.tuple(
      fc.oneof(fc.constantFrom('ns', 'n', 'last', 'artifactType', 'digest', '__proto__'), visible),
      fc.oneof(
        fc.constantFrom('docker.io', 'ghcr.io', 'nobody.test', '0', '-1', '1e9', '2147483648', '%00', '%zz', ''),
        visible,
      ),
    ),
    { maxLength: 4 },
  )
  .map((pairs) => (pairs.length === 0 ? '' : `?${pairs.map((pair) => pair.join('=')).join('&')}`));
/** A fragment is no part of a target, and an absolute one has tests of its own. */
const target = fc.tuple(path, query).map(([before, after]) => (before + after).replaceAll('#', ''));
/** CONNECT is for proxies: Node closes such a connection. */
const method = fc.oneof(
  fc.constantFrom('GET', 'HEAD'),
  fc.constantFrom(...METHODS.filter((name) => name !== 'CONNECT')),
);
const value = fc.string({ unit: fc.integer({ min: 0x20, max: 0xff }).map((code) => String.fromCharCode(code)) });
const headerValue = value.map((text) => text.replaceAll('\x7f', ' '));
const header = fc.tuple(
  fc.constantFrom(
    'Range',
    'If-Range',
    'If-None-Match',
    'Accept',
    'Accept-Encoding',
    'Authorization',
    'Cookie',
    'Origin',
    'Referer',
    'User-Agent',
    'X-Forwarded-For',
    'X-Forwarded-Host',
    'X-Forwarded-Proto',
    'Forwarded',
    '__proto__',
    'constructor',
    'Docker-Content-Digest',
    'Trailer',
    'Via',
  ),
  headerValue,
);

interface Request {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly (readonly [string, string])[];
}

const request: fc.Arbitrary<Request> = fc.record({ method, target, headers: fc.array(header, { maxLength: 5 }) });

function textOf({ method: verb, target: at, headers }: Request, more: readonly string[] = []): string {
  const lines = [`${verb} ${at} HTTP/1.1`, `Host: ${app.host}`, ...headers.map((one) => one.join(': ')), ...more];
  return `${lines.join('\r\n')}\r\n\r\n`;
}

const goodbye = (): string => textOf({ method: 'GET', target: '/v2/', headers: [] }, ['Connection: close']);

interface Told {
  readonly answers: readonly WireAnswer[];
  readonly end: 'closed' | 'silent';
}

async function send(text: string, methods: readonly string[] = []): Promise<Told> {
  const { received, end } = await sendBytes(app.host, Buffer.from(text, 'latin1'));
  return { answers: answersIn(received, methods), end };
}

test('whatever is asked, exactly one honest answer comes', async () => {
  await fc.assert(
    fc.asyncProperty(request, async (one) => {
      const { answers, end } = await send(textOf(one) + goodbye(), [one.method]);
      expect(end).toBe('closed');
      const [answer, last, ...rest] = answers;
      expect(rest).toEqual([]);
      expectHonest(answer ?? expect.fail('no answer'), one.method);
      if (last) expect(last.status).toBe(200);
      else expect(answer?.headers.get('connection')).toBe('close');
    }),
    runs(400),
  );
  expectOrderlyUpstreams();
  await expectAlive();
});

test('requests that follow each other on one connection get one answer each, in their order', async () => {
  const get = fc.record({ method: fc.constantFrom('GET', 'HEAD'), target, headers: fc.constant([]) });
  await fc.assert(
    fc.asyncProperty(fc.array(get, { minLength: 1, maxLength: 8 }), async (requests) => {
      const methods = requests.map((one) => one.method);
      const { answers } = await send(requests.map((one) => textOf(one)).join('') + goodbye(), methods);
      expect(answers.length).toBe(requests.length + 1);
      for (const [index, one] of requests.entries()) {
        const alone = await send(textOf(one, ['Connection: close']), [one.method]);
        expect(answers[index]?.status).toBe(alone.answers[0]?.status);
      }
    }),
    runs(40),
  );
  await expectAlive();
});

test('whatever host is named, only configured upstreams are asked', async () => {
  const host = fc.oneof(
    fc.constantFrom('ghcr.io', 'GHCR.IO', 'ghcr.io:443', 'ghcr.io.', 'x@ghcr.io', 'ghcr.io, docker.io', '[::1]', '*'),
    visible,
    headerValue,
  );
  await fc.assert(
    fc.asyncProperty(host, resource, async (name, at) => {
      const text = `GET ${at} HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`;
      const { answers } = await send(text);
      expect(answers).toHaveLength(1);
      expect([200, 400, 404]).toContain(answers[0]?.status);
    }),
    runs(150),
  );
  expectOrderlyUpstreams();
  await expectAlive();
});

// ── ranges ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const position = fc.oneof(fc.integer({ min: 0, max: 1_100 }), fc.constantFrom(0, 999, 1_000, 2 ** 31, 2 ** 53));
const range = fc.oneof(
  fc.tuple(position, position).map(([first, last]) => `bytes=${first}-${last}`),
  position.map((first) => `bytes=${first}-`),
  position.map((length) => `bytes=-${length}`),
  fc.array(fc.tuple(position, position), { maxLength: 4 }).map((all) => `bytes=${all.map((one) => one.join('-'))}`),
  fc.constantFrom(
    'bytes=',
    'bytes=-',
    'bytes',
    'bytes=a-b',
    'bytes=5',
    'items=0-5',
    'bytes=--5',
    `bytes=0-${'9'.repeat(400)}`,
  ),
  headerValue,
);

test('whatever range is asked for, what comes is the whole, the part it says it is, or a refusal', async () => {
  await fc.assert(
    fc.asyncProperty(range, async (asked) => {
      const { answers } = await send(
        textOf({ method: 'GET', target: `/v2/${repository}/blobs/${blob.digest}`, headers: [['Range', asked]] }, [
          'Connection: close',
        ]),
      );
      expect(answers).toHaveLength(1);
      const [{ status, headers, body } = expect.fail('no answer')] = answers;
      const [, start, end] = /^bytes (\d+)-(\d+)\/1000$/.exec(headers.get('content-range') ?? '') ?? [];
      if (status === 416) expect(headers.get('content-range')).toBe('bytes */1000');
      else if (status === 200) expect(body.equals(blob.bytes)).toBe(true);
      else expect(body.equals(blob.bytes.subarray(Number(start), Number(end) + 1))).toBe(true);
      expect([200, 206, 416]).toContain(status);
      expect(status === 206).toBe(start !== undefined && Number(start) <= Number(end));
    }),
    runs(250),
  );
  await expectAlive();
});

// ── what is no request, or two ──────────────────────────────────────────────────────────────────────────────────────

const smuggled = (): string => textOf({ method: 'GET', target: `/v2/${repository}/manifests/smuggled`, headers: [] });

function expectNothingSmuggled(): void {
  expect(upstream.count('GET', /smuggled/)).toBe(0);
}

test.each([1, 50, 150, 210, 500, 2_100, 2_500])(
  'a request with %i headers, and a body that looks like another, gets one answer',
  async (count) => {
    const flood = Array.from({ length: count }, () => 'a: ');
    const body = smuggled();
    const { answers, end } = await send(
      textOf({ method: 'GET', target: '/v2/', headers: [] }, [...flood, `Content-Length: ${body.length}`]) + body,
    );
    expect(answers).toHaveLength(1);
    expect(answers[0]?.status).toBe(count < 200 ? 200 : 431);
    expect(end).toBe('closed');
    expectNothingSmuggled();
    await expectAlive();
  },
);

test('however a body is framed, what is in it is never taken for a request', async () => {
  const chunkEnd = fc.constantFrom(
    '',
    ';a',
    ';a=b',
    ';a="b"',
    ';',
    ';;',
    ';\r',
    ';\n',
    ' ',
    '\t',
    ';a\0',
    `;${'x'.repeat(20_000)}`,
  );
  const framing = fc.oneof(
    fc.constant(() => [`Content-Length: ${smuggled().length}`, '', smuggled()]),
    fc.constant(() => ['Content-Length: 5', 'Transfer-Encoding: chunked', '', `0\r\n\r\n${smuggled()}`]),
    fc.constant(() => ['Transfer-Encoding: chunked', 'Content-Length: 5', '', `0\r\n\r\n${smuggled()}`]),
    fc.constant(() => ['Transfer-Encoding: identity', '', smuggled()]),
    fc.constant(() => ['Transfer-Encoding: chunked, identity', '', smuggled()]),
    fc.constant(() => ['Transfer-Encoding : chunked', '', `0\r\n\r\n${smuggled()}`]),
    fc.constant(() => ['Transfer-Encoding: xchunked', '', `0\r\n\r\n${smuggled()}`]),
    fc.constant(() => ['Content-Length: 0', `Content-Length: ${smuggled().length}`, '', smuggled()]),
    fc.constant(() => [`Content-Length: +${smuggled().length}`, '', smuggled()]),
    fc.constant(() => [`Content-Length: 0x10`, '', smuggled()]),
    fc.constant(() => ['Content-Length: 99999999999999999999', '', smuggled()]),
    fc.constant(() => ['Content-Length: -1', '', smuggled()]),
    chunkEnd.map((extension) => () => [
      'Transfer-Encoding: chunked',
      '',
      `${smuggled().length.toString(16)}${extension}\r\n${smuggled()}\r\n0\r\n\r\n`,
    ]),
    fc
      .constantFrom('FFFFFFFFFFFFFFFFF', '-1', 'g', '')
      .map((size) => () => ['Transfer-Encoding: chunked', '', `${size}\r\n${smuggled()}`]),
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom('GET', 'HEAD', 'POST', 'PUT', 'DELETE'), framing, async (verb, frame) => {
      const text = `${verb} /v2/ HTTP/1.1\r\nHost: ${app.host}\r\n${frame().join('\r\n')}`;
      const { received, end } = await sendBytes(app.host, Buffer.from(text, 'latin1'), { silentMs: 150 });
      const statuses = statusesIn(received);
      expect(statuses.length).toBeLessThanOrEqual(end === 'closed' ? 1 : 0);
      expect([undefined, 200, 400, 405, 413]).toContain(statuses[0]);
    }),
    runs(60),
  );
  expectNothingSmuggled();
  await expectAlive();
});

test.each([
  ['Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__', 'Connection: Upgrade, HTTP2-Settings'],
  ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13'],
  ['Upgrade: TLS/1.0', 'Connection: Upgrade'],
])('no protocol is changed: %s', async (...headers) => {
  const { answers, end } = await send(textOf({ method: 'GET', target: '/v2/', headers: [] }, headers) + goodbye());
  expect(answers.map(({ status }) => status)).toEqual([200]);
  expect(end).toBe('closed');
  await expectAlive();
});

test.each([
  'http://evil.test/v2/',
  'https://ghcr.io/v2/library/app/manifests/1',
  '*',
  'evil.test:443',
  '//evil.test/v2/',
])('the target %s leads nowhere', async (at) => {
  for (const verb of ['GET', 'OPTIONS', 'CONNECT']) {
    const { answers } = await send(textOf({ method: verb, target: at, headers: [] }, ['Connection: close']), [verb]);
    expect(answers.length).toBeLessThanOrEqual(1);
    for (const answer of answers) expect(answer.status).toBeGreaterThanOrEqual(400);
  }
  expect(upstream.count() + other.count()).toBe(0);
  await expectAlive();
});

test('bytes that are changed, lost or put in on the way break nothing', async () => {
  const change = fc.record({
    at: fc.nat({ max: 10_000 }),
    kind: fc.constantFrom('put', 'drop', 'cut', 'double'),
    byte: fc.oneof(fc.constantFrom(0, 0x0a, 0x0d, 0x20, 0x3a, 0x09, 0x7f, 0xff), fc.nat({ max: 255 })),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(request, { minLength: 1, maxLength: 2 }),
      fc.array(change, { minLength: 1, maxLength: 4 }),
      async (requests, changes) => {
        let bytes: Buffer = Buffer.from(requests.map((one) => textOf(one)).join('') + goodbye(), 'latin1');
        for (const { at, kind, byte } of changes) bytes = changed(bytes, at % bytes.length, kind, byte);
        const { received } = await sendBytes(app.host, bytes, { silentMs: 100 });
        expect(statusesIn(received).filter((status) => status === 500)).toEqual([]);
      },
    ),
    runs(70),
  );
  expectOrderlyUpstreams();
  await expectAlive();
});

function changed(bytes: Buffer, at: number, kind: string, byte: number): Buffer {
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  switch (kind) {
    case 'put':
      return Buffer.concat([before, Buffer.from([byte]), after]);
    case 'drop':
      return Buffer.concat([before, after.subarray(1)]);
    case 'cut':
      return before.length === 0 ? bytes : before;
    default:
      return Buffer.concat([before, after.subarray(0, byte), after]);
  }
}

test('bytes that mean nothing break nothing', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 400 }), async (bytes) => {
      const { received } = await sendBytes(app.host, Buffer.from(bytes), { silentMs: 100 });
      expect(statusesIn(received).filter((status) => status !== 400)).toEqual([]);
    }),
    runs(60),
  );
  await expectAlive();
});
