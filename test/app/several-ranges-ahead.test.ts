import { expect, test } from 'vitest';
import { asking, partsIn, partsOf, type Positions } from '../support/byte-ranges.ts';
import { ask, open } from '../support/client.ts';
import { type Fault, pump } from '../support/fake-answer.ts';
import type { FakeRegistry } from '../support/fake-registry.ts';
import { farAhead, largeBlob, startDownloading, startHoldingFirst } from '../support/ranges-ahead.ts';
import { gate } from '../support/gate.ts';

const blobs = /\/blobs\//;
const mebibyte = 1024 * 1024;
const blob = largeBlob();
const size = blob.bytes.length;
const first = farAhead;
const second = farAhead + 4 * mebibyte;
const last = size - 200_000;

/** The first one is there already; the others are far ahead. */
const asked: Positions = [
  [1_000, 1_999],
  [first, first + 99_999],
  [second, second + 999],
  [last, size - 1],
];
const far = asked.slice(1);
const rangesOf = (positions: Positions) => positions.map(([start, end]) => `bytes=${start}-${end}`);
const rangesSeen = (upstream: FakeRegistry) => upstream.seen('GET', blobs).map(({ headers }) => headers.range);

/** What the upstream sent beside the one download. */
const sentForParts = (upstream: FakeRegistry) =>
  upstream.seen('GET', blobs).reduce((sum, { headers, sentBytes }) => sum + (headers.range ? sentBytes : 0), 0);

const bytesIn = (positions: Positions) => positions.reduce((sum, [start, end]) => sum + end - start + 1, 0);

test('several ranges far ahead of a running download are answered before it gets there, and the whole blob is downloaded once', async () => {
  const { upstream, app, path, whole, door } = await startDownloading(blob);
  expect(partsIn(await ask(app, path, asking(...asked)))).toEqual(partsOf(blob, asked));
  expect(rangesSeen(upstream)).toEqual([undefined, ...rangesOf(far)]);
  expect(sentForParts(upstream)).toBeLessThanOrEqual(1.2 * bytesIn(asked));
  door.open();
  await whole.rest();
  expect(whole.receivedBytes).toBe(size);
  await app.quiet();
  expect((await ask(app, path, asking(...asked))).cache).toBe('hit');
  expect(upstream.count('GET', blobs)).toBe(1 + far.length);
});

test('several ranges of a blob whose download starts with them are answered before it ends', async () => {
  const { upstream, app, path, door } = await startHoldingFirst(blob);
  const answer = await ask(app, path, asking(...asked));
  expect(partsIn(answer)).toEqual(partsOf(blob, asked));
  expect(rangesSeen(upstream)).toEqual([undefined, ...rangesOf(far)]);
  expect(sentForParts(upstream)).toBeLessThanOrEqual(1.2 * bytesIn(asked));
  door.open();
  await app.quiet();
  expect((await ask(app, path, asking(...asked))).cache).toBe('hit');
});

test('a range close ahead waits for the download, and the ranges behind it are requested in turn', async () => {
  const { upstream, app, path, door } = await startDownloading(blob);
  const soon: Positions = [[0, 9], [2 * mebibyte, 2 * mebibyte + 9], ...far];
  const answer = await open(app, path, asking(...soon));
  await answer.read(10);
  expect(rangesSeen(upstream)).toEqual([undefined]);
  door.open();
  const body = await answer.rest();
  expect(answer.receivedBytes).toBe(Number(answer.headers['content-length']));
  expect(body.subarray(-1_000).includes(blob.bytes.subarray(-900))).toBe(true);
});

test('many clients of the same ranges share their upstream requests', async () => {
  const { upstream, app, path } = await startDownloading(blob);
  const held = gate();
  upstream.script({ path: blobs, times: 1 }, { holdHeaders: held });
  const answers = await Promise.all(Array.from({ length: 20 }, () => open(app, path, asking(...far))));
  held.open();
  for (const answer of answers) {
    const { headers } = answer;
    expect(partsIn({ headers, body: await answer.rest() })).toEqual(partsOf(blob, far));
  }
  expect(rangesSeen(upstream)).toEqual([undefined, ...rangesOf(far)]);
});

test('the ranges are requested from the upstream one after another, as the client reads', async () => {
  const { upstream, app, path } = await startDownloading(blob);
  const held = gate();
  upstream.script({ path: blobs, times: 1 }, { holdBody: { afterBytes: 1_000, until: held } });
  const answer = await open(app, path, asking(...far));
  const begun = await answer.read(1_000);
  expect(rangesSeen(upstream)).toEqual([undefined, ...rangesOf(far.slice(0, 1))]);
  held.open();
  const { headers } = answer;
  expect(partsIn({ headers, body: Buffer.concat([begun, await answer.rest()]) })).toEqual(partsOf(blob, far));
});

test('a client that leaves while the upstream is silent ends the request for its range', async () => {
  const { upstream, app, path } = await startDownloading(blob);
  upstream.script({ path: blobs, times: 1 }, { holdBody: { afterBytes: 1_000, until: gate() } });
  const leaving = await open(app, path, asking(...far));
  await leaving.read(1_000);
  const [, part] = upstream.seen('GET', blobs);
  leaving.hangUp();
  expect(await part?.ended).toBe('aborted');
  expect(rangesSeen(upstream)).toHaveLength(2);
});

test.each<{ what: string; fault: Fault }>([
  { what: 'breaks off', fault: { cutAfterBytes: 300 } },
  {
    what: 'sends less of it than requested',
    fault: {
      headers: { 'content-range': `bytes ${first}-${first + 299}/${size}` },
      body: (honest: Buffer) => honest.subarray(0, 300),
    },
  },
])('when the upstream $what, the range is resumed in the same answer', async ({ fault }) => {
  const { upstream, app, path } = await startDownloading(blob);
  upstream.script({ path: blobs, times: 1 }, fault);
  expect(partsIn(await ask(app, path, asking(...asked)))).toEqual(partsOf(blob, asked));
  const [[start, end] = []] = far;
  expect(rangesSeen(upstream)).toEqual([
    undefined,
    `bytes=${start}-${end}`,
    `bytes=${first + 300}-${end}`,
    ...rangesOf(far.slice(1)),
  ]);
});

test.each<{ what: string; options?: { ranges: boolean }; fault: Fault }>([
  { what: 'does not support ranges', options: { ranges: false }, fault: {} },
  { what: 'sends another range', fault: { headers: { 'content-range': `bytes 0-99999/${size}` } } },
  {
    what: 'sends a range of another blob',
    fault: { headers: { 'content-range': `bytes ${first}-${first + 99_999}/5` } },
  },
  { what: 'answers 503', fault: { status: 503 } },
  { what: 'answers 429', fault: { status: 429 } },
  { what: 'answers 416', fault: { status: 416 } },
])(
  'when the upstream $what, the ranges follow the download, and no further range is requested',
  async ({ options, fault }) => {
    const { upstream, app, path, door } = await startDownloading(blob, options);
    upstream.script({ path: blobs }, fault);
    const answer = await open(app, path, asking(...asked));
    const begun = await answer.read(1_000);
    await upstream.arrived('GET', blobs, 2);
    const counted = upstream.count('GET', blobs);
    door.open();
    const { headers } = answer;
    expect(partsIn({ headers, body: Buffer.concat([begun, await answer.rest()]) })).toEqual(partsOf(blob, asked));
    expect(new Set(rangesSeen(upstream).slice(1))).toEqual(new Set(rangesOf(far.slice(0, 1))));
    expect(counted).toBeLessThanOrEqual(3);
  },
);

test.each<{ what: string; fault: Fault }>([
  { what: 'is silent', fault: { holdHeaders: gate() } },
  { what: 'sends the headers of a range and nothing more', fault: { pump: pump() } },
])('when the upstream $what, the ranges are answered as soon as the download has them', async ({ fault }) => {
  const { upstream, app, path, whole, door } = await startDownloading(blob);
  upstream.script({ path: blobs }, fault);
  const answer = await open(app, path, asking(...far));
  const part = await upstream.arrived('GET', blobs, 2);
  door.open();
  await whole.rest();
  const { headers } = answer;
  expect(partsIn({ headers, body: await answer.rest() })).toEqual(partsOf(blob, far));
  expect(await part.ended).toBe('aborted');
  expect(rangesSeen(upstream)).toEqual([undefined, ...rangesOf(far.slice(0, 1))]);
});

test('an upstream that fails for good in the middle of a range cuts the answer', async () => {
  const { upstream, app, path } = await startDownloading(blob);
  upstream.script({ path: blobs, times: 1 }, { cutAfterBytes: 300 });
  upstream.script({ path: blobs }, { status: 404 });
  await expect(ask(app, path, asking(...asked))).rejects.toThrow('cut');
});

test.each<{ what: string; positions: Positions }>([
  {
    what: 'ranges of more than 8 MiB',
    positions: [
      [0, 9],
      [first, first + 9 * mebibyte],
    ],
  },
  {
    what: 'ranges that together cover most of 8 MiB and more',
    positions: [
      [0, 9],
      ...Array.from({ length: 10 }, (_, n) => [first + n * mebibyte, first + n * mebibyte + 1_000_000] as const),
    ],
  },
  {
    what: 'more small ranges than are requested one by one',
    positions: [
      [0, 9],
      ...Array.from({ length: 900 }, (_, n) => [first + n * 10_000, first + n * 10_000 + 9] as const),
    ],
  },
])('$what follow the download', async ({ positions }) => {
  const { upstream, app, path, door } = await startDownloading(blob);
  const answer = await open(app, path, asking(...positions));
  const begun = await answer.read(10);
  door.open();
  const { headers } = answer;
  expect(partsIn({ headers, body: Buffer.concat([begun, await answer.rest()]) })).toEqual(partsOf(blob, positions));
  expect(rangesSeen(upstream)).toEqual([undefined]);
});
