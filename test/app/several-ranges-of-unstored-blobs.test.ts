import { expect, test } from 'vitest';
import { asking, partsIn, partsOf, type Positions } from '../support/byte-ranges.ts';
import { ask, open } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { type Content, randomBlob } from '../support/images.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const blobs = /\/blobs\//;
const mebibyte = 1024 * 1024;
const pathOf = ({ digest }: Content) => `/v2/${repository}/blobs/${digest}`;

const small = { storage: { maxSize: '1MiB' } };
const blob = randomBlob(32 * mebibyte);
const asked: Positions = [
  [100, 199],
  [20_000, 20_009],
  [16 * mebibyte, 17 * mebibyte],
  [31 * mebibyte, 31 * mebibyte + 9],
];

async function startWith(blob: Content) {
  const upstream = await startFakeRegistry();
  upstream.content.addBlob(repository, blob);
  return { upstream, app: await startApp(mirrorOf(upstream, small)), path: pathOf(blob) };
}

test('several ranges of a blob that does not fit cause little more upstream traffic than their bytes', async () => {
  const { upstream, app, path } = await startWith(blob);
  expect(partsIn(await ask(app, path, asking(...asked)))).toEqual(partsOf(blob, asked));
  expect(upstream.seen('GET', blobs).map(({ headers }) => headers.range)).toEqual([
    'bytes=100-20009',
    `bytes=${16 * mebibyte}-${17 * mebibyte}`,
    `bytes=${31 * mebibyte}-${31 * mebibyte + 9}`,
  ]);
});

test('an upstream without range support gets one request for the whole blob', async () => {
  const upstream = await startFakeRegistry({ ranges: false });
  upstream.content.addBlob(repository, blob);
  const app = await startApp(mirrorOf(upstream, small));
  expect(partsIn(await ask(app, pathOf(blob), asking(...asked)))).toEqual(partsOf(blob, asked));
  const sent = upstream.seen('GET', blobs).reduce((sum, { sentBytes }) => sum + sentBytes, 0);
  expect(sent).toBeLessThan(1.5 * blob.bytes.length);
});

test('many ranges of a blob that does not fit cause at most a fifth more upstream traffic than their bytes', async () => {
  const { upstream, app, path } = await startWith(blob);
  const spread: Positions = Array.from({ length: 30 }, (_, n) => [n * mebibyte, n * mebibyte + 99_999 + 30_000 * n]);
  expect(partsIn(await ask(app, path, asking(...spread)))).toEqual(partsOf(blob, spread));
  const sent = upstream.seen('GET', blobs).reduce((sum, { sentBytes }) => sum + sentBytes, 0);
  expect(sent).toBeLessThanOrEqual(1.2 * spread.reduce((sum, [start, end]) => sum + end - start + 1, 0));
});

test('the first range does not wait for the others', async () => {
  const { upstream, app, path } = await startWith(blob);
  const held = gate();
  upstream.script({ path: blobs, method: 'GET', times: 1 }, {});
  upstream.script({ path: blobs, method: 'GET', times: 1 }, { holdHeaders: held });
  const answer = await open(app, path, asking(...asked));
  const begun = await answer.read(100);
  held.open();
  const { headers } = answer;
  expect(partsIn({ headers, body: Buffer.concat([begun, await answer.rest()]) })).toEqual(partsOf(blob, asked));
});

test('an upstream that breaks off within a range is asked for the rest', async () => {
  const { upstream, app, path } = await startWith(blob);
  upstream.script({ path: blobs, method: 'GET', times: 1 }, {});
  upstream.script({ path: blobs, method: 'GET', times: 1 }, { cutAfterBytes: 300 });
  expect(partsIn(await ask(app, path, asking(...asked)))).toEqual(partsOf(blob, asked));
  expect(upstream.seen('GET', blobs).map(({ headers }) => headers.range)[2]).toBe(
    `bytes=${16 * mebibyte + 300}-${17 * mebibyte}`,
  );
});

test('an upstream that sends another range cuts the answer', async () => {
  const { upstream, app, path } = await startWith(blob);
  upstream.script({ path: blobs, method: 'GET', times: 1 }, {});
  const size = blob.bytes.length;
  upstream.script({ path: blobs, method: 'GET' }, { headers: { 'content-range': `bytes 0-${mebibyte}/${size}` } });
  await expect(ask(app, path, asking(...asked))).rejects.toThrow('cut');
});

test('an upstream that fails in the middle cuts the answer', async () => {
  const { upstream, app, path } = await startWith(blob);
  upstream.script({ path: blobs, method: 'GET', times: 1 }, {});
  upstream.script({ path: blobs, method: 'GET' }, { status: 404 });
  await expect(ask(app, path, asking(...asked))).rejects.toThrow('cut');
});

test('ranges from the first byte to the last are verified like the whole blob', async () => {
  const { upstream, app, path } = await startWith(randomBlob(2 * mebibyte, 'wrong'));
  upstream.script({ path: blobs, method: 'GET' }, { body: (honest) => Buffer.from(honest).fill(1, honest.length - 1) });
  const halves: Positions = [
    [0, mebibyte - 1],
    [mebibyte, 2 * mebibyte - 1],
  ];
  await expect(ask(app, path, asking(...halves))).rejects.toThrow('cut');
});
