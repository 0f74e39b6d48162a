import { once } from 'node:events';
import { buffer } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import type { ByteRange } from '../../../../src/mirror/ports/upstream.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { defaultUpstreamSettings, type UpstreamSettings } from '../../../../src/upstream/settings.ts';
import type { Fault } from '../../../support/fake-answer.ts';
import { startFakeRegistry } from '../../../support/fake-registry.ts';
import { gate } from '../../../support/gate.ts';
import { randomBlob } from '../../../support/images.ts';
import { clientOf, unlimited } from '../start-client.ts';

const repository = parseRepository('team/app');
const blobs = /\/blobs\//;
const mebibyte = 1024 * 1024;
const shortIdleTime = { timeouts: { ...defaultUpstreamSettings.timeouts, idleMs: 400 } };

interface Start {
  readonly size?: number;
  readonly fault?: Fault;
  readonly settings?: Partial<UpstreamSettings>;
}

async function startWithBlob({ size = 1000, fault = {}, settings = {} }: Start = {}) {
  const registry = await startFakeRegistry();
  const blob = randomBlob(size);
  registry.content.addBlob(repository, blob);
  registry.script({ path: blobs }, fault);
  return { registry, blob, ...clientOf(registry.url, settings) };
}

test('a blob opens when its headers arrive, and its bytes are passed on as they arrive', async () => {
  const end = gate();
  const { client, blob } = await startWithBlob({ fault: { holdBody: { afterBytes: 100, until: end } } });

  const opened = await client.openBlob(repository, blob.digest, unlimited);
  expect(opened).toMatchObject({ size: 1000, offset: 0 });
  end.open();

  expect(await buffer(opened.body)).toEqual(blob.bytes);
});

test('a large blob arrives whole, and the observer counts all its bytes', async () => {
  const { client, blob, observer } = await startWithBlob({ size: 20 * mebibyte });

  const { body } = await client.openBlob(repository, blob.digest, unlimited);

  expect((await buffer(body)).equals(blob.bytes)).toBe(true);
  expect(observer.bytesOf('blob')).toBe(20 * mebibyte);
});

test.each<{ range: ByteRange; expected: [number, number] }>([
  { range: { start: 0 }, expected: [0, 1000] },
  { range: { start: 400 }, expected: [400, 1000] },
  { range: { start: 400, end: 499 }, expected: [400, 500] },
  { range: { start: 400, end: 4000 }, expected: [400, 1000] },
])('a range of a blob begins where it should: $range', async ({ range, expected }) => {
  const { client, blob } = await startWithBlob();

  const { size, offset, body } = await client.openBlob(repository, blob.digest, { ...unlimited, range });

  expect({ size, offset }).toEqual({ size: 1000, offset: range.start });
  expect(await buffer(body)).toEqual(blob.bytes.subarray(...expected));
});

test('a registry without range support sends the whole blob from its beginning', async () => {
  const registry = await startFakeRegistry({ ranges: false });
  const blob = randomBlob(1000);
  registry.content.addBlob(repository, blob);
  const { client } = clientOf(registry.url);

  const { offset, body } = await client.openBlob(repository, blob.digest, { ...unlimited, range: { start: 400 } });

  expect(offset).toBe(0);
  expect(await buffer(body)).toEqual(blob.bytes);
});

test('a range beyond the end is reported as out of range', async () => {
  const { client, blob } = await startWithBlob();

  const opened = client.openBlob(repository, blob.digest, { ...unlimited, range: { start: 1000 } });

  await expect(opened).rejects.toMatchObject({ name: 'OciError', code: 'RANGE_INVALID' });
});

test.each([
  { what: 'begins earlier', contentRange: 'bytes 399-498/1000', length: 100 },
  { what: 'begins later', contentRange: 'bytes 401-499/1000', length: 99 },
  { what: 'goes beyond what was asked for', contentRange: 'bytes 400-999/1000', length: 600 },
  { what: 'ends before it begins', contentRange: 'bytes 400-399/1000', length: 0 },
  { what: 'does not say what it is', contentRange: '', length: 100 },
  { what: 'is counted in something else', contentRange: 'lines 400-499/1000', length: 100 },
  { what: 'is of another length than it says', contentRange: 'bytes 400-498/1000', length: 100 },
])('a part that $what is rejected', async ({ contentRange, length }) => {
  const fault = { headers: { 'content-range': contentRange }, body: () => Buffer.alloc(length) };
  const { client, blob } = await startWithBlob({ fault });

  const opened = client.openBlob(repository, blob.digest, { ...unlimited, range: { start: 400, end: 499 } });

  await expect(opened).rejects.toMatchObject({ reason: 'misbehaving' });
});

test('a part that is shorter than requested is accepted as a beginning', async () => {
  const fault = {
    headers: { 'content-range': 'bytes 400-449/1000' },
    body: (honest: Buffer) => honest.subarray(0, 50),
  };
  const { client, blob } = await startWithBlob({ fault });

  const { offset, body } = await client.openBlob(repository, blob.digest, {
    ...unlimited,
    range: { start: 400, end: 499 },
  });

  expect(offset).toBe(400);
  expect(await buffer(body)).toEqual(blob.bytes.subarray(400, 450));
});

test('a part that was not requested is rejected', async () => {
  const { client, blob } = await startWithBlob({ fault: { status: 206 } });

  await expect(client.openBlob(repository, blob.digest, unlimited)).rejects.toMatchObject({ reason: 'misbehaving' });
});

test.each([
  { what: 'longer', body: (honest: Buffer) => Buffer.concat([honest, honest]), reason: 'misbehaving' },
  { what: 'shorter', body: (honest: Buffer) => honest.subarray(1), reason: 'misbehaving' },
])('a part of unannounced length that is $what than its range fails: $reason', async ({ body, reason }) => {
  const { client, blob } = await startWithBlob({ fault: { body, contentLength: 'absent' } });

  const opened = await client.openBlob(repository, blob.digest, { ...unlimited, range: { start: 400, end: 499 } });

  await expect(buffer(opened.body)).rejects.toMatchObject({ reason });
});

test.each([
  { framing: 'with its length', fault: { cutAfterBytes: 500 } },
  { framing: 'in chunks', fault: { cutAfterBytes: 500, contentLength: 'absent' } },
  { framing: 'with a length that is not kept', fault: { contentLength: 1001 } },
] as const)('a blob sent $framing that breaks off fails, and never ends as if it were complete', async ({ fault }) => {
  const { client, registry, blob } = await startWithBlob({ fault });
  void registry.arrived('GET', blobs).then(({ ended }) => ended.then(() => registry.stop()));

  const { body } = await client.openBlob(repository, blob.digest, unlimited);

  await expect(buffer(body)).rejects.toMatchObject({ name: 'UpstreamError' });
});

test('an upstream that falls silent within a blob is given up after the idle timeout', async () => {
  const fault = { holdBody: { afterBytes: 500, until: gate() } };
  const { client, registry, blob } = await startWithBlob({ fault, settings: shortIdleTime });

  const { body } = await client.openBlob(repository, blob.digest, unlimited);

  await expect(buffer(body)).rejects.toMatchObject({ reason: 'timeout' });
  expect(await registry.requests[0]?.ended).toBe('aborted');
});

test('a slow reader slows the upstream down', async () => {
  const { client, registry, blob } = await startWithBlob({ size: 200 * mebibyte });
  const { body } = await client.openBlob(repository, blob.digest, unlimited);
  await once(body, 'readable');

  await untilQuiet(() => registry.requests[0]?.sentBytes ?? 0);

  expect(registry.requests[0]?.sentBytes).toBeLessThan(50 * mebibyte);
  body.destroy();
});

test('destroying the body ends the exchange', async () => {
  const never = gate();
  const { client, registry, blob } = await startWithBlob({ fault: { holdBody: { afterBytes: 500, until: never } } });
  const { body } = await client.openBlob(repository, blob.digest, unlimited);

  body.destroy();

  expect(await registry.requests[0]?.ended).toBe('aborted');
});

test('a caller that stops waiting for the headers ends the exchange', async () => {
  const never = gate();
  const { client, registry, blob, observer } = await startWithBlob({ fault: { holdHeaders: never } });
  const waiting = new AbortController();
  const opened = client.openBlob(repository, blob.digest, waiting);
  const { ended } = await registry.arrived('GET', blobs);

  waiting.abort(new Error('the client left'));

  await expect(opened).rejects.toThrow('the client left');
  expect(await ended).toBe('aborted');
  expect(observer.story).toEqual(['GET blob aborted']);
});

test('an abort after the headers ends the body with its reason', async () => {
  const never = gate();
  const { client, registry, blob } = await startWithBlob({ fault: { holdBody: { afterBytes: 500, until: never } } });
  const waiting = new AbortController();
  const { body } = await client.openBlob(repository, blob.digest, waiting);

  waiting.abort(new Error('the client left'));

  await expect(buffer(body)).rejects.toThrow('the client left');
  expect(await registry.requests[0]?.ended).toBe('aborted');
});

test('an aborted caller sends no request', async () => {
  const { client, registry, blob } = await startWithBlob();

  const opened = client.openBlob(repository, blob.digest, { signal: AbortSignal.abort(new Error('the client left')) });

  await expect(opened).rejects.toThrow('the client left');
  expect(registry.count()).toBe(0);
});

test('a blob that was compressed on the way is rejected', async () => {
  const { client, blob } = await startWithBlob({ fault: { gzip: true } });

  await expect(client.openBlob(repository, blob.digest, unlimited)).rejects.toMatchObject({ reason: 'misbehaving' });
});

test('a blob that the upstream lacks is unknown', async () => {
  const { client } = await startWithBlob();

  const opened = client.openBlob(repository, randomBlob(10, 'another').digest, unlimited);

  await expect(opened).rejects.toMatchObject({ code: 'BLOB_UNKNOWN' });
});

test('a registry that answers 416 to a request without a range is at fault', async () => {
  const { client, blob } = await startWithBlob({ fault: { status: 416 } });

  const asked = client.openBlob(repository, blob.digest, unlimited);

  await expect(asked).rejects.toMatchObject({ reason: 'misbehaving' });
});

test('a failure before the body is read is reported when it is read', async () => {
  const { client, registry, blob } = await startWithBlob({ size: 20 * mebibyte, fault: { cutAfterBytes: 500 } });
  const { body } = await client.openBlob(repository, blob.digest, unlimited);
  await registry.requests[0]?.ended;

  await expect(buffer(body)).rejects.toMatchObject({ reason: 'connect' });
});

/** Resolves once a count has stopped growing for a while: proof that nothing moves can only be had by looking. */
async function untilQuiet(count: () => number): Promise<void> {
  for (let before = -1; before !== count(); ) {
    before = count();
    const later = gate();
    setTimeout(() => later.open(), 200);
    await later.opened;
  }
}
