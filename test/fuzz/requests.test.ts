import fc from 'fast-check';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { hashOf, partsIn } from '../support/byte-ranges.ts';
import { fuzzedApp, healthy } from './fuzzed-app.ts';
import { honestyOf } from './honesty.ts';
import {
  blob,
  getText,
  headerText,
  repository,
  request,
  resource,
  target,
  textOf,
  visibleText,
} from './request-text.ts';
import { expectAlways } from './runs.ts';
import type { WireAnswer } from './wire.ts';

const app = fuzzedApp();
beforeAll(() => app.start());
beforeEach(() => app.forgetPaths());

const goodbye = (): string => getText(app.host, '/v2/', ['Connection: close']);

/** Whatever clients write, upstreams are only asked for what the spec allows. */
function expectOrderlyPaths(): void {
  const name = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
  const what = 'manifests/[\\w:.-]+|blobs/sha(?:256|512):[0-9a-f]+|referrers/sha(?:256|512):[0-9a-f]+|tags/list';
  const path = new RegExp(`^/v2/${name}(?:/${name})*/(?:${what})$`);
  expect(app.paths().filter((asked) => !path.test(asked))).toEqual([]);
}

test('every request gets exactly one honest answer', async () => {
  const asked = fc.asyncProperty(request, async (one) => {
    const { answers, end } = await app.send(textOf(app.host, one) + goodbye(), [one.method]);
    const [answer, last] = answers;
    expect(answer && honestyOf(answer, one.method)).toBe('honest');
    // An answer that closes the connection leaves what follows unanswered.
    const wasClosed = answer?.headers.get('connection') === 'close';
    expect({ last: last?.status, count: answers.length, end }).toEqual(
      wasClosed ? { last: undefined, count: 1, end: 'closed' } : { last: 200, count: 2, end: 'closed' },
    );
  });
  await expectAlways(asked, 400);
  expectOrderlyPaths();
  expect(await app.health()).toEqual(healthy);
});

test('pipelined requests get one answer each, in their order', async () => {
  const get = fc.record({ method: fc.constantFrom('GET', 'HEAD'), target, headers: fc.constant([]) });
  const asked = fc.asyncProperty(fc.array(get, { minLength: 1, maxLength: 8 }), async (requests) => {
    const methods = requests.map(({ method }) => method);
    const together = await app.send(requests.map((one) => textOf(app.host, one)).join('') + goodbye(), methods);
    const alone: (number | undefined)[] = [];
    for (const one of requests) {
      const { answers } = await app.send(textOf(app.host, one, ['Connection: close']), [one.method]);
      alone.push(answers[0]?.status);
    }
    expect(together.answers.map(({ status }) => status)).toEqual([...alone, 200]);
  });
  await expectAlways(asked, 40);
  expect(await app.health()).toEqual(healthy);
});

test('only configured upstreams are asked, whatever host a client names', async () => {
  const names = ['ghcr.io', 'GHCR.IO', 'ghcr.io:443', 'ghcr.io.', 'x@ghcr.io', 'ghcr.io, docker.io', '[::1]', '*'];
  const host = fc.oneof(fc.constantFrom(...names), visibleText, headerText);
  const asked = fc.asyncProperty(host, resource, async (name, at) => {
    const { answers } = await app.send(getText(name, at, ['Connection: close']));
    expect(answers).toHaveLength(1);
    expect([200, 400, 404]).toContain(answers[0]?.status);
  });
  await expectAlways(asked, 150);
  expectOrderlyPaths();
  expect(await app.health()).toEqual(healthy);
});

const position = fc.oneof(fc.integer({ min: 0, max: 1_100 }), fc.constantFrom(0, 999, 1_000, 2 ** 31, 2 ** 53));
const odd = [
  'bytes=',
  'bytes=-',
  'bytes',
  'bytes=a-b',
  'bytes=5',
  'items=0-5',
  'bytes=--5',
  `bytes=0-${'9'.repeat(400)}`,
];
const range = fc.oneof(
  fc.tuple(position, position).map(([first, last]) => `bytes=${first}-${last}`),
  position.map((first) => `bytes=${first}-`),
  position.map((length) => `bytes=-${length}`),
  fc
    .array(fc.tuple(position, position), { maxLength: 4 })
    .map((all) => `bytes=${all.map(([a, b]) => `${a}-${b}`).join()}`),
  fc
    .array(
      fc.oneof(
        fc.tuple(position, position).map((both) => both.join('-')),
        fc.constantFrom('', ' ', '-5', '0-', 'x'),
      ),
      {
        maxLength: 40,
      },
    )
    .map((all) => `bytes=${all.join()}`),
  fc
    .constantFrom(990, 1_000, 1_001, 1_500)
    .map((count) => `bytes=${Array.from({ length: count }, (_, at) => `${at}-${at}`).join()}`),
  fc.constantFrom(...odd),
  headerText,
);

/** What an answer to a range brought: the whole, a part and which, or that there is none. Pure. */
function partIn({ status, headers, body }: WireAnswer): string {
  const [, start, end] = /^bytes (\d+)-(\d+)\/1000$/.exec(headers.get('content-range') ?? '') ?? [];
  if (status === 200) return body.equals(blob.bytes) ? 'right' : 'not the whole';
  if (status === 416) return headers.get('content-range') === 'bytes */1000' ? 'right' : 'no size';
  if (status === 400) return honestyOf({ status, headers, body }, 'GET') === 'honest' ? 'right' : 'no honest refusal';
  if (status === 206 && start === undefined) return partsAreRight({ headers, body }) ? 'right' : 'other parts';
  if (status !== 206 || start === undefined || Number(start) > Number(end)) return `status ${status}, no range`;
  return body.equals(blob.bytes.subarray(Number(start), Number(end) + 1)) ? 'right' : 'another part';
}

function partsAreRight({ headers, body }: Pick<WireAnswer, 'headers' | 'body'>): boolean {
  const parts = partsIn({ headers: Object.fromEntries(headers), body });
  const ends = [-1, ...parts.map(({ end }) => end)];
  return (
    parts.length > 1 &&
    parts.every(
      ({ start, end, size, hash }, index) =>
        start > (ends[index] ?? 0) && size === 1_000 && hash === hashOf(blob.bytes.subarray(start, end + 1)),
    )
  );
}

test('every range is answered with the whole, the parts it names, or an error', async () => {
  const at = `/v2/${repository}/blobs/${blob.digest}`;
  const asked = fc.asyncProperty(range, async (wanted) => {
    const one = { method: 'GET', target: at, headers: [['Range', wanted] as const] };
    const { answers } = await app.send(textOf(app.host, one, ['Connection: close']));
    expect(answers.map(partIn)).toEqual(['right']);
  });
  await expectAlways(asked, 250);
  expect(await app.health()).toEqual(healthy);
});
