import fc from 'fast-check';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { ociIndex, ociManifest } from '../../src/oci/media-types.ts';
import { ask, open, type WholeAnswer } from '../support/client.ts';
import { image, randomBlob } from '../support/images.ts';
import { thisSuite } from '../support/owner.ts';
import { startRawServer } from '../support/raw-server.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { expectAlways } from './runs.ts';

const repository = 'library/app';
/** No upstream has this one. */
const absent = randomBlob(10, 'absent').digest;
const owner = thisSuite();
const { manifest } = image();
const blob = randomBlob(100);
let app: RunningApp;
/** What the upstream sends, whatever it is asked, before it closes the connection. */
let sent: Buffer;

beforeAll(async () => {
  const url = await startRawServer((socket) => socket.end(sent), owner);
  const withoutRetries = { download: { attemptsWithoutProgress: 1 }, freshness: { tag: '0s', missing: '0s' } };
  app = await startAppInMemory(mirrorOf({ url }, withoutRetries), { owner });
});

/** So that an upstream that failed before is asked again. */
beforeEach(() => app.clock.advance(3_600_000));

function answerOf(status: number, headers: readonly (readonly [string, string])[], body: Uint8Array): Buffer {
  const lines = [`HTTP/1.1 ${status} Answer`, ...headers.map((header) => header.join(': '))];
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), body]);
}

interface Question {
  readonly method: string;
  readonly path: string;
}

const questions: readonly Question[] = [
  { method: 'GET', path: `/v2/${repository}/manifests/1` },
  { method: 'HEAD', path: `/v2/${repository}/manifests/1` },
  { method: 'GET', path: `/v2/${repository}/manifests/${manifest.digest}` },
  { method: 'HEAD', path: `/v2/${repository}/manifests/${manifest.digest}` },
  { method: 'GET', path: `/v2/${repository}/blobs/${blob.digest}` },
  { method: 'HEAD', path: `/v2/${repository}/blobs/${blob.digest}` },
  { method: 'GET', path: `/v2/${repository}/tags/list` },
  { method: 'GET', path: `/v2/${repository}/referrers/${manifest.digest}` },
];
const question = fc.constantFrom(...questions);

/** @returns undefined where the answer was cut. */
async function asked({ method, path }: Question): Promise<WholeAnswer | undefined> {
  app.clock.advance(3_600_000);
  const answer = await open(app, path, { method });
  const { status, headers, cache } = answer;
  const body = await answer.rest().catch(() => undefined);
  return body && { status, headers, cache, body };
}

/** What is wrong with an answer, or `honest`: right bytes, or a failure that says in the words of the spec what it is. Pure. */
function honestyOf(answer: WholeAnswer | undefined, { method, path }: Question): string {
  if (!answer || (method === 'HEAD' && honestStatuses.has(answer.status))) return 'honest';
  const { status, headers, body: bytes } = answer;
  if (!honestStatuses.has(status)) return `status ${status}`;
  if (status !== 200)
    return /^\{"errors":\[\{"code":"[A-Z_]+"/.test(bytes.toString()) ? 'honest' : 'no error of the spec';
  if (/tags|referrers/.test(path)) return isListing(JSON.parse(bytes.toString())) ? 'honest' : 'no listing';
  const digest = path.split('/').at(-1);
  return [digest, headers['docker-content-digest']].includes(digestOf(bytes)) ? 'honest' : 'wrong bytes';
}

function isListing(value: unknown): boolean {
  const listed: unknown = typeof value === 'object' && value !== null ? Object.values(value).at(-1) : undefined;
  return Array.isArray(listed);
}

const honestStatuses: ReadonlySet<number> = new Set([200, 403, 404, 429, 502, 503, 504]);

async function expectAlive(): Promise<void> {
  expect((await ask(app, '/v2/')).status).toBe(200);
  expect(app.logLines.filter(({ msg }) => msg === 'unexpected error')).toEqual([]);
}

const headerText = fc
  .string({ unit: fc.integer({ min: 0x20, max: 0xff }).map((code) => String.fromCharCode(code)) })
  .map((text) => text.replaceAll('\x7f', ' '));
function valueOf(...pieces: readonly string[]): fc.Arbitrary<string> {
  const meaningful = fc.array(fc.constantFrom(...pieces), { maxLength: 8 }).map((all) => all.join(''));
  return fc.oneof({ weight: 3, arbitrary: meaningful }, { weight: 1, arbitrary: headerText });
}
function headerOf(name: string, ...pieces: readonly string[]): fc.Arbitrary<readonly [string, string]> {
  return valueOf(...pieces).map((value) => [name, value] as const);
}

const header = fc.oneof(
  headerOf(
    'WWW-Authenticate',
    'Bearer ',
    'Basic ',
    'realm=',
    '"http://127.0.0.1:9/token"',
    '"',
    ',',
    'service="a"',
    '\\',
  ),
  headerOf('Link', '<', '>', '</v2/library/app/tags/list?n=5>', '; rel=', '"next"', 'next', '<http://evil.test/>', ','),
  headerOf('Location', '/v2/', 'http://evil.test/', 'file:///etc/passwd', 'http://169.254.169.254/', '//', '..', ':'),
  headerOf('Content-Range', 'bytes ', '0', '99', '-', '/', '100', '*'),
  headerOf('Content-Length', '0', '1', '100', '-', '+', '9999999999', ','),
  headerOf('Content-Type', ociManifest, ociIndex, 'application/json', 'text/html', ';', 'charset=utf-8'),
  headerOf('Docker-Content-Digest', manifest.digest, blob.digest, 'sha256:', 'md5:', '0'),
  headerOf('Content-Encoding', 'gzip', 'identity', 'br', ','),
  headerOf('Transfer-Encoding', 'chunked', 'identity', ','),
  headerOf('Retry-After', '0', '5', '-1', '99999999999', 'Wed, 21 Oct 2040 07:28:00 GMT'),
  headerOf('RateLimit-Remaining', '0', '5', ';w=', '21600', '-'),
  headerOf('RateLimit-Limit', '0', '5', ';w=', '21600', '-'),
  headerOf('__proto__', 'x'),
  headerText.map((value) => ['X-Any', value] as const),
);
const status = fc.constantFrom(
  200,
  200,
  200,
  201,
  204,
  206,
  206,
  301,
  302,
  304,
  307,
  400,
  401,
  401,
  403,
  404,
  405,
  416,
  429,
  500,
  503,
  100,
  101,
  199,
  999,
);
const body = fc.oneof(
  fc.json().map((text) => Buffer.from(text)),
  fc.constant(manifest.bytes),
  fc.constant(blob.bytes),
  fc
    .constantFrom('{"tags":[1,null,"a"]}', '{"manifests":[{}]}', '{"errors":[{"code":{}}]}', '', '0\r\n\r\n')
    .map((text) => Buffer.from(text)),
  fc.uint8Array({ maxLength: 200 }),
);

test('clients get right bytes or an honest failure, whatever headers and body an upstream sends', async () => {
  const headers = fc.array(header, { maxLength: 5 });
  const told = fc.asyncProperty(question, status, headers, body, async (one, code, all, bytes) => {
    sent = answerOf(code, all, bytes);
    expect(honestyOf(await asked(one), one)).toBe('honest');
  });
  await expectAlways(told, 350);
  await expectAlive();
});

test('an upstream that does not speak HTTP counts as one that gives no answer', async () => {
  const paths = ['manifests/1', `manifests/${absent}`, `blobs/${absent}`, 'tags/list', `referrers/${absent}`];
  const told = fc.asyncProperty(fc.constantFrom(...paths), fc.uint8Array({ maxLength: 300 }), async (path, bytes) => {
    sent = Buffer.from(bytes);
    const answer = await asked({ method: 'GET', path: `/v2/library/silent/${path}` });
    expect([502, 503]).toContain(answer?.status);
  });
  await expectAlways(told, 80);
  await expectAlive();
});

const deep = '['.repeat(50_000);
const documents = [
  { what: 'nested 50,000 deep', text: deep },
  { what: 'nested 50,000 deep, and closed', text: deep + ']'.repeat(50_000) },
  { what: 'nested 50,000 deep in its layers', text: `{"layers":${deep}${']'.repeat(50_000)}}` },
  { what: 'of objects 50,000 deep', text: `${'{"config":'.repeat(50_000)}1${'}'.repeat(50_000)}` },
  { what: 'an array of a million numbers', text: `{"layers":[${'1,'.repeat(1_000_000)}1]}` },
  { what: 'an array of a hundred thousand objects', text: `{"layers":[${'{},'.repeat(100_000)}{}]}` },
  { what: 'of five thousand layers', text: JSON.stringify({ layers: Array.from({ length: 5_000 }, layerAt) }) },
  { what: 'a number', text: '1e400' },
  { what: 'null', text: 'null' },
  { what: 'a text', text: '"layers"' },
  {
    what: 'of wrong types',
    text: '{"schemaVersion":"2","config":[],"layers":{"0":1},"manifests":"all","mediaType":7}',
  },
  { what: 'with names of objects', text: '{"__proto__":{"layers":1},"constructor":1,"toString":1}' },
  { what: 'of broken UTF-8', text: '\xff\xfe{"layers":[]}' },
  { what: 'empty', text: '' },
] as const;

function layerAt(_: unknown, index: number): object {
  return {
    mediaType: 'application/vnd.oci.image.layer.v1.tar',
    digest: randomBlob(8, `layer ${index}`).digest,
    size: 8,
  };
}

test.each(documents)(
  'a manifest that is $what is passed on unchanged or rejected, and the process survives',
  async ({ text }) => {
    const bytes = Buffer.from(text, 'latin1');
    for (const type of [ociManifest, ociIndex, 'application/json', 'text/html']) {
      sent = answerOf(
        200,
        [
          ['Content-Type', type],
          ['Content-Length', String(bytes.length)],
        ],
        bytes,
      );
      const byTag = { method: 'GET', path: `/v2/${repository}/manifests/1` };
      expect(honestyOf(await asked(byTag), byTag)).toBe('honest');
      const byDigest = { method: 'GET', path: `/v2/${repository}/manifests/${absent}` };
      expect((await asked(byDigest))?.status).toBe(502);
    }
    await expectAlive();
  },
);

test.each(documents)('a listing that is $what is passed on or rejected, and the process survives', async ({ text }) => {
  const bytes = Buffer.from(text, 'latin1');
  sent = answerOf(
    200,
    [
      ['Content-Type', 'application/json'],
      ['Content-Length', String(bytes.length)],
    ],
    bytes,
  );
  const listings = questions.filter(({ path }) => /tags|referrers/.test(path));
  for (const one of listings) expect(honestyOf(await asked(one), one)).toBe('honest');
  await expectAlive();
});
