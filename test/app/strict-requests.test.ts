import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image } from '../support/images.ts';
import { thisSuite } from '../support/owner.ts';
import { type RawAnswer, sendRaw } from '../support/raw-request.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const digest = image().manifest.digest;
const hex = digest.slice('sha256:'.length);
const owner = thisSuite();
let upstream: FakeRegistry;
let app: RunningApp;

beforeAll(async () => {
  upstream = await startFakeRegistry({ owner });
  upstream.content.add('library/app', '1', image());
  app = await startAppInMemory(mirrorOf(upstream), { owner });
});

beforeEach(() => upstream.forgetRequests());

/** A GET of a target that closes its connection. */
function get(target: string, ...headers: readonly string[]): string {
  return [`GET ${target} HTTP/1.1`, `Host: ${app.host}`, 'Connection: close', ...headers, '', ''].join('\r\n');
}

function expectRefusal(answers: readonly RawAnswer[], status: number, code?: string): void {
  expect(answers).toHaveLength(1);
  const [answer] = answers;
  expect(answer?.status).toBe(status);
  expect(answer?.headers.get('content-type')).toMatch(/^application\/json/);
  expect(JSON.parse(answer?.body ?? '')).toMatchObject({ errors: [{ ...(code !== undefined && { code }) }] });
  expect(upstream.count()).toBe(0);
}

describe('an invalid name is rejected with 400, and the upstream is not asked', () => {
  test.each([
    { what: 'an encoded slash', target: '/v2/library%2Fapp/manifests/1' },
    { what: 'an encoded slash in small letters', target: '/v2/library%2fapp/manifests/1' },
    { what: 'a slash encoded twice', target: '/v2/library%252Fapp/manifests/1' },
    { what: 'dot segments', target: '/v2/../library/app/manifests/1' },
    { what: 'dot segments in between', target: '/v2/library/../app/manifests/1' },
    { what: 'a dot segment', target: '/v2/library/./app/manifests/1' },
    { what: 'encoded dot segments', target: '/v2/library/%2e%2e/app/manifests/1' },
    { what: 'dot segments behind a name', target: '/v2/library/app/../../../etc/manifests/1' },
    { what: 'a backslash', target: '/v2/library\\app/manifests/1' },
    { what: 'an encoded backslash', target: '/v2/library%5Capp/manifests/1' },
    { what: 'an empty component', target: '/v2/library//app/manifests/1' },
    { what: 'a slash in front', target: '/v2//library/app/manifests/1' },
    { what: 'a slash behind', target: '/v2/library/app//manifests/1' },
    { what: 'a component of the store itself', target: '/v2/library/app/_tags/manifests/1' },
    { what: 'a component that begins with a dot', target: '/v2/library/.app/manifests/1' },
    { what: 'capital letters', target: '/v2/Library/App/manifests/1' },
    { what: 'letters of another alphabet', target: '/v2/library/%C3%A4pp/manifests/1' },
    { what: 'a NUL, encoded', target: '/v2/library/app%00/manifests/1' },
    { what: 'a line break, encoded', target: '/v2/library/app%0d%0aX:1/manifests/1' },
    { what: 'a percent sign', target: '/v2/library/app%/manifests/1' },
    { what: '300 characters', target: `/v2/library/${'a'.repeat(292)}/manifests/1` },
    { what: 'a user and a host', target: '/v2/user@evil.test/app/manifests/1' },
    { what: 'a scheme', target: '/v2/http://evil.test/app/manifests/1' },
    { what: 'a semicolon', target: '/v2/library/app;x=1/manifests/1' },
    { what: 'a blank', target: '/v2/library/a%20pp/manifests/1' },
  ])('$what', async ({ target }) => {
    expectRefusal(await sendRaw(app.host, get(target)), 400, 'NAME_INVALID');
  });
});

describe('an invalid digest is rejected with 400, and the upstream is not asked', () => {
  test.each([
    { what: 'too short', text: `sha256:${hex.slice(1)}` },
    { what: 'too long', text: `sha256:${hex}0` },
    { what: 'in capital letters', text: `sha256:${hex.toUpperCase()}` },
    { what: 'of an algorithm that is not known', text: `md5:${hex.slice(0, 32)}` },
    { what: 'of sha512, but as short as one of sha256', text: `sha512:${hex}` },
    { what: 'with something in front', text: `x+sha256:${hex}` },
    { what: 'not hexadecimal', text: `sha256:${'g'.repeat(64)}` },
  ])('$what', async ({ text }) => {
    for (const kind of ['manifests', 'blobs', 'referrers']) {
      expectRefusal(await sendRaw(app.host, get(`/v2/library/app/${kind}/${text}`)), 400, 'DIGEST_INVALID');
    }
  });

  test('the colon of a digest may be encoded', async () => {
    const [answer] = await sendRaw(app.host, get(`/v2/library/app/manifests/sha256%3A${hex}`));
    expect(answer?.status).toBe(200);
  });
});

describe('a path that is not a resource is answered 404, and the upstream is not asked', () => {
  test.each([
    ['/'],
    ['/v1/'],
    ['/v2/library/app'],
    ['/v2/library/app/manifests'],
    ['/v2/library/app/tags'],
    ['/v2/library/app/tags/list/more'],
    ['/v2/library/app/blobs/uploads/'],
    ['/v2/_catalog/more'],
    ['/v22/library/app/manifests/1'],
    ['/a/b/v2/library/app/manifests/1'],
    ['/../v2/library/app/manifests/1'],
    ['/metrics'],
    ['/healthz'],
    ['/token'],
  ])('%s', async (target) => {
    expectRefusal(await sendRaw(app.host, get(target)), 404, 'NAME_UNKNOWN');
  });
});

describe('an ambiguous request is rejected, and ends its connection', () => {
  test('a target with a scheme and a host', async () => {
    expectRefusal(await sendRaw(app.host, get(`http://${upstream.host}/v2/library/app/manifests/1`)), 400);
  });

  test('a target that is not a path', async () => {
    expectRefusal(await sendRaw(app.host, get('v2/library/app/manifests/1')), 400);
  });

  test('a target of forty thousand characters', async () => {
    expectRefusal(await sendRaw(app.host, get(`/v2/library/app/manifests/1?${'a'.repeat(40_000)}`)), 431);
  });

  test('a target of five thousand characters', async () => {
    expectRefusal(await sendRaw(app.host, get(`/v2/library/app/manifests/1?ns=${'a'.repeat(5_000)}`)), 400);
  });

  test('both Transfer-Encoding and Content-Length', async () => {
    const smuggled = `0\r\n\r\n${get('/v2/library/app/manifests/1')}`;
    const request = [
      'GET /v2/ HTTP/1.1',
      `Host: ${app.host}`,
      `Content-Length: ${smuggled.length}`,
      'Transfer-Encoding: chunked',
      '',
      smuggled,
    ].join('\r\n');
    expectRefusal(await sendRaw(app.host, request), 400);
  });

  test.each([
    { what: 'two lengths', headers: ['Content-Length: 0', 'Content-Length: 5'] },
    { what: 'a length that is none', headers: ['Content-Length: +5'] },
    { what: 'a header in two lines', headers: ['X-One: a', ' b: c'] },
    { what: 'a header without a colon', headers: ['X-One'] },
    { what: 'a blank before the colon', headers: ['X-One : a'] },
    { what: 'a NUL in a header', headers: ['X-One: a\0b'] },
    { what: 'two hosts', headers: ['Host: evil.test'] },
  ])('$what', async ({ headers }) => {
    expectRefusal(await sendRaw(app.host, get('/v2/library/app/manifests/1', ...headers)), 400);
  });

  test('no host', async () => {
    expectRefusal(
      await sendRaw(app.host, 'GET /v2/library/app/manifests/1 HTTP/1.1\r\nConnection: close\r\n\r\n'),
      400,
    );
    const old = await sendRaw(app.host, 'GET /v2/ HTTP/1.0\r\n\r\n');
    expect(old.map(({ status }) => status)).toEqual([200]);
  });

  test('a NUL in the target', async () => {
    expectRefusal(await sendRaw(app.host, get('/v2/library/app\0/manifests/1')), 400);
  });

  test('bytes that are not HTTP', async () => {
    expectRefusal(await sendRaw(app.host, '\x16\x03\x01 hello\r\n\r\n'), 400);
  });

  test.each([
    { what: 'a length', headers: ['Content-Length: 5'], body: 'hello' },
    { what: 'chunks', headers: ['Transfer-Encoding: chunked'], body: '5\r\nhello\r\n0\r\n\r\n' },
  ])(
    'a GET with a body of $what is answered once, and the body is not taken for a request',
    async ({ headers, body }) => {
      const first = ['GET /v2/ HTTP/1.1', `Host: ${app.host}`, ...headers, '', body].join('\r\n');
      const answers = await sendRaw(app.host, first + get('/v2/library/app/manifests/1'));
      expect(answers.map(({ status }) => status)).toEqual([200]);
      expect(answers[0]?.headers.get('connection')).toBe('close');
      expect(upstream.count()).toBe(0);
    },
  );

  test('a body that looks like a request is not taken for one', async () => {
    const inner = get('/v2/library/app/manifests/1');
    const answers = await sendRaw(
      app.host,
      [`GET /v2/ HTTP/1.1`, `Host: ${app.host}`, `Content-Length: ${inner.length}`, '', inner].join('\r\n'),
    );
    expect(answers).toHaveLength(1);
    expect(upstream.count()).toBe(0);
  });
});

test('unreadable bytes after a request are not answered before that request', async () => {
  const answering = gate();
  upstream.script({ path: /\/held$/, times: 1 }, { holdHeaders: answering });
  const held = `GET /v2/library/app/manifests/held HTTP/1.1\r\nHost: ${app.host}\r\n\r\n`;
  expect(await sendRaw(app.host, `${held}nonsense\r\n\r\n`)).toEqual([]);
  answering.open();
});

test('pipelined requests are answered in order', async () => {
  const ping = `GET /v2/ HTTP/1.1\r\nHost: ${app.host}\r\n\r\n`;
  const answers = await sendRaw(app.host, ping + ping + get('/v2/library/app/manifests/1'));
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
  expect(answers[2]?.body).toBe(image().manifest.bytes.toString('latin1'));
});
