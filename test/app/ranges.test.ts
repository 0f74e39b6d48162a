import { beforeAll, describe, expect, test } from 'vitest';
import { ask, open } from '../support/client.ts';
import type { Fault } from '../support/fake-answer.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { farAhead, largeBlob, startDownloading } from '../support/ranges-ahead.ts';
import { gate } from '../support/gate.ts';
import { startHolding } from '../support/held-blob.ts';
import { image, randomBlob } from '../support/images.ts';
import { thisSuite } from '../support/owner.ts';
import { pullBlob } from '../support/pull.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { storeOnDisk } from '../support/store-on-disk.ts';

const repository = 'library/app';
const blobs = /\/blobs\//;
const mebibyte = 1024 * 1024;
const size = 1_000_000;

describe('a stored blob', () => {
  const owner = thisSuite();
  const blob = randomBlob(size);
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  const { manifest } = image();
  let upstream: FakeRegistry;
  let app: RunningApp;

  beforeAll(async () => {
    upstream = await startFakeRegistry({ owner });
    upstream.content.addBlob(repository, blob);
    upstream.content.add(repository, '1', image());
    app = await startAppInMemory(mirrorOf(upstream), { owner });
    await pullBlob(app, repository, blob.digest);
    await ask(app, `/v2/${repository}/manifests/1`);
    await app.quiet();
    upstream.forgetRequests();
  });

  test.each([
    { range: 'bytes=0-0', start: 0, end: 0 },
    { range: 'bytes=0-999', start: 0, end: 999 },
    { range: 'bytes=700000-700009', start: 700_000, end: 700_009 },
    { range: 'bytes=999999-999999', start: 999_999, end: 999_999 },
    { range: 'bytes=600000-', start: 600_000, end: size - 1 },
    { range: 'bytes=0-', start: 0, end: size - 1 },
    { range: 'bytes=999000-5000000', start: 999_000, end: size - 1 },
    { range: 'bytes=-300', start: size - 300, end: size - 1 },
    { range: 'bytes=-5000000', start: 0, end: size - 1 },
    { range: 'Bytes = 5-6'.replaceAll(' ', ''), start: 5, end: 6 },
  ])('$range is answered 206 with exactly those bytes', async ({ range, start, end }) => {
    const { status, headers, body, cache } = await ask(app, path, { headers: { range } });
    expect(status).toBe(206);
    expect(headers['content-range']).toBe(`bytes ${start}-${end}/${size}`);
    expect(headers['content-length']).toBe(String(end - start + 1));
    expect(headers['docker-content-digest']).toBe(blob.digest);
    expect(body.equals(blob.bytes.subarray(start, end + 1))).toBe(true);
    expect(cache).toBe('hit');
  });

  test.each([['bytes=1000000-'], ['bytes=2000000-3000000'], ['bytes=-0'], ['bytes=']])(
    '%s is answered 416, with the size',
    async (range) => {
      const { status, headers, body } = await ask(app, path, { headers: { range } });
      expect(status).toBe(416);
      expect(headers['content-range']).toBe(`bytes */${size}`);
      expect(JSON.parse(body.toString())).toMatchObject({ errors: [{ code: 'RANGE_INVALID' }] });
    },
  );

  test.each([
    { what: 'a list with an invalid range', headers: { range: 'bytes=0-1,6-5' } },
    { what: 'a range that ends before it begins', headers: { range: 'bytes=5-4' } },
    { what: 'another unit', headers: { range: 'lines=1-2' } },
    { what: 'an invalid range', headers: { range: 'bytes=a-b' } },
    {
      what: 'a range if the content were another',
      headers: { range: 'bytes=0-1', 'if-range': `"${manifest.digest}"` },
    },
    { what: 'a range if the tag were weak', headers: { range: 'bytes=0-1', 'if-range': `W/"${blob.digest}"` } },
    {
      what: 'a range if unchanged since',
      headers: { range: 'bytes=0-1', 'if-range': 'Thu, 01 Jan 2026 00:00:00 GMT' },
    },
  ])('$what is answered 200 with the whole blob', async ({ headers }) => {
    const answer = await ask(app, path, { headers });
    expect(answer.status).toBe(200);
    expect(answer.headers['content-range']).toBeUndefined();
    expect(answer.body.equals(blob.bytes)).toBe(true);
  });

  test('a range with a matching If-Range is answered 206', async () => {
    const { status, body } = await ask(app, path, { headers: { range: 'bytes=0-1', 'if-range': `"${blob.digest}"` } });
    expect(status).toBe(206);
    expect(body).toHaveLength(2);
  });

  test.each([
    { what: 'has it', tags: (etag: string) => etag },
    { what: 'has it, weakly', tags: (etag: string) => `W/${etag}` },
    { what: 'has it among others', tags: (etag: string) => `"other", ${etag}` },
    { what: 'takes anything', tags: () => '*' },
  ])('a client that $what is answered 304 without a body, whatever range it asks for', async ({ tags }) => {
    for (const [where, { digest }] of [
      [path, blob],
      [`/v2/${repository}/manifests/1`, manifest],
    ] as const) {
      for (const method of ['GET', 'HEAD']) {
        const headers = { 'if-none-match': tags(`"${digest}"`), range: 'bytes=0-1' };
        const answer = await ask(app, where, { method, headers });
        expect(answer).toMatchObject({ status: 304, headers: { etag: `"${digest}"` } });
        expect(answer.body).toHaveLength(0);
      }
    }
  });

  test('an If-None-Match that names other content is answered 200', async () => {
    expect((await ask(app, path, { headers: { 'if-none-match': '"sha256:other"' } })).status).toBe(200);
  });

  test('a HEAD ignores the range, which applies to GET only', async () => {
    for (const [where, { bytes }] of [
      [path, blob],
      [`/v2/${repository}/manifests/1`, manifest],
    ] as const) {
      for (const range of ['bytes=0-9', 'bytes=99999999-']) {
        const { status, headers } = await ask(app, where, { method: 'HEAD', headers: { range } });
        expect(status).toBe(200);
        expect(headers['content-length']).toBe(String(bytes.length));
      }
    }
  });

  test('a range of a manifest is answered 206', async () => {
    const answer = await ask(app, `/v2/${repository}/manifests/1`, { headers: { range: 'bytes=5-14' } });
    expect(answer.status).toBe(206);
    expect(answer.body.equals(manifest.bytes.subarray(5, 15))).toBe(true);
  });

  test('none of these requests reaches the upstream', () => {
    expect(upstream.count()).toBe(0);
  });
});

test('with verifyReads, a range is read together with everything before it', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(size);
  upstream.content.addBlob(repository, blob);
  const app = await startAppInMemory(mirrorOf(upstream, { storage: { verifyReads: true } }));
  await pullBlob(app, repository, blob.digest);
  await app.quiet();
  const { body } = await ask(app, `/v2/${repository}/blobs/${blob.digest}`, {
    headers: { range: 'bytes=700000-700009' },
  });
  expect(body.equals(blob.bytes.subarray(700_000, 700_010))).toBe(true);
});

test('a range of an uncached blob starts one download of the whole blob, which is stored', async () => {
  const { upstream, app, blob, path, held: half } = await startHolding(size, { bytes: 500_000 });
  const early = await ask(app, path, { headers: { range: 'bytes=1000-1999' } });
  expect(early).toMatchObject({ status: 206, headers: { 'content-range': `bytes 1000-1999/${size}` } });
  expect(early.body.equals(blob.bytes.subarray(1_000, 2_000))).toBe(true);
  const late = await open(app, path, { headers: { range: 'bytes=-100' } });
  expect(late).toMatchObject({ status: 206, headers: { 'content-length': '100' } });
  half.open();
  expect((await late.rest()).equals(blob.bytes.subarray(-100))).toBe(true);
  await app.quiet();
  const whole = await ask(app, path);
  expect(whole.cache).toBe('hit');
  expect(whole.body.equals(blob.bytes)).toBe(true);
  expect(upstream.count()).toBe(1);
  expect(upstream.requests[0]?.headers.range).toBeUndefined();
});

test('a range beyond the end of an uncached blob is answered 416, and the download continues', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(size);
  upstream.content.addBlob(repository, blob);
  const app = await startAppInMemory(mirrorOf(upstream));
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  expect((await ask(app, path, { headers: { range: 'bytes=1000000-' } })).status).toBe(416);
  await app.quiet();
  expect((await ask(app, path)).cache).toBe('hit');
});

test('while the size is unknown, a range is answered with the whole blob', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(size);
  upstream.content.addBlob(repository, blob);
  upstream.script({ path: blobs }, { contentLength: 'absent' });
  const app = await startAppInMemory(mirrorOf(upstream));
  const answer = await ask(app, `/v2/${repository}/blobs/${blob.digest}`, { headers: { range: 'bytes=0-9' } });
  expect(answer.status).toBe(200);
  expect(answer.body.equals(blob.bytes)).toBe(true);
});

test('a part that an upstream sends for the whole blob is never stored as the whole', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(size);
  upstream.content.addBlob(repository, blob);
  upstream.script(
    { path: blobs, times: 1 },
    { status: 206, headers: { 'content-range': `bytes 0-999/${size}` }, body: (honest) => honest.subarray(0, 1_000) },
  );
  const app = await startAppInMemory(mirrorOf(upstream));
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  expect((await ask(app, path)).status).toBe(502);
  expect((await ask(app, path)).body.equals(blob.bytes)).toBe(true);
  await app.stop();
  expect((await storeOnDisk(app.dataDirectory)).blobs.get(blob.digest)).toEqual({ size, isWhole: true });
});

describe('a range far ahead of a running download', () => {
  const start = farAhead;
  const blob = largeBlob();
  const downloading = (options = {}) => startDownloading(blob, options);

  test('is relayed from the upstream if it is small, and the whole blob is still downloaded once', async () => {
    const { upstream, app, path, whole, door } = await downloading();
    const part = await ask(app, path, { headers: { range: `bytes=${start}-${start + 999}` } });
    expect(part).toMatchObject({ status: 206, headers: { 'content-length': '1000' } });
    expect(part.body.equals(blob.bytes.subarray(start, start + 1_000))).toBe(true);
    expect(upstream.requests.map(({ headers }) => headers.range)).toEqual([undefined, `bytes=${start}-${start + 999}`]);
    door.open();
    await whole.rest();
    expect(whole.receivedBytes).toBe(blob.bytes.length);
    await app.quiet();
    expect((await ask(app, path, { headers: { range: 'bytes=0-9' } })).cache).toBe('hit');
    expect(upstream.count()).toBe(2);
  });

  test.each<{ what: string; fault: Fault }>([
    { what: 'breaks off', fault: { cutAfterBytes: 300 } },
    {
      what: 'sends less of it than requested',
      fault: {
        headers: { 'content-range': `bytes ${start}-${start + 299}/${80 * mebibyte}` },
        body: (honest: Buffer) => honest.subarray(0, 300),
      },
    },
  ])('is resumed in the same answer when the upstream $what', async ({ fault }) => {
    const { upstream, app, path, door } = await downloading();
    upstream.script({ path: blobs, times: 1 }, fault);
    const part = await ask(app, path, { headers: { range: `bytes=${start}-${start + 999}` } });
    expect(part.body.equals(blob.bytes.subarray(start, start + 1_000))).toBe(true);
    const asked = upstream.requests.map(({ headers }) => headers.range).slice(1);
    expect(asked).toEqual([`bytes=${start}-${start + 999}`, `bytes=${start + 300}-${start + 999}`]);
    door.open();
  });

  test.each([
    { what: 'large', range: `bytes=${start}-${start + 9 * mebibyte}` },
    { what: 'without an end', range: `bytes=${start}-` },
    { what: 'close ahead', range: 'bytes=2000000-2000999' },
  ])('follows the download if it is $what', async ({ range }) => {
    const { upstream, app, path, door } = await downloading();
    const part = await open(app, path, { headers: { range } });
    expect(part.status).toBe(206);
    expect(upstream.count()).toBe(1);
    door.open();
    const [, first = '', last = ''] = /=(\d+)-(\d*)/.exec(range) ?? [];
    const end = last === '' ? blob.bytes.length : Number(last) + 1;
    expect((await part.rest()).equals(blob.bytes.subarray(Number(first), end))).toBe(true);
  });

  test.each([
    { what: 'does not support ranges', options: { ranges: false }, fault: {} },
    { what: 'answers 503', options: {}, fault: { status: 503 } },
    { what: 'answers 429', options: {}, fault: { status: 429 } },
    { what: 'answers 416', options: {}, fault: { status: 416 } },
  ])('follows the download when the upstream $what', async ({ options, fault }) => {
    const { upstream, app, path, door } = await downloading(options);
    upstream.script({ path: blobs }, fault);
    const part = await open(app, path, { headers: { range: `bytes=${start}-${start + 999}` } });
    expect(part.status).toBe(206);
    door.open();
    expect((await part.rest()).equals(blob.bytes.subarray(start, start + 1_000))).toBe(true);
  });

  test('ends its upstream request when its client leaves while the upstream is silent', async () => {
    const { upstream, app, path, door } = await downloading();
    upstream.script({ path: blobs, times: 1 }, { holdBody: { afterBytes: 300, until: gate() } });
    const part = await open(app, path, { headers: { range: `bytes=${start}-${start + 999}` } });
    await part.read(300);
    const asked = await upstream.arrived('GET', blobs, 2);
    part.hangUp();
    expect(await asked.ended).toBe('aborted');
    door.open();
  });
});
