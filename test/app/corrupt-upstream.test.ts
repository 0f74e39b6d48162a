import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, test } from 'vitest';
import { withheldBytes } from '../../src/mirror/transfers/withheld-tail.ts';
import { ask, open } from '../support/client.ts';
import type { Fault } from '../support/fake-answer.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image, randomBlob, randomBytes } from '../support/images.ts';
import { get, pullAll, pullBlob } from '../support/pull.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { storeOnDisk } from '../support/store-on-disk.ts';

const repository = 'library/app';
const blobs = /\/blobs\//;
const manifests = /\/manifests\//;
/** Small ones are verified before the answer begins; large ones are streamed. */
const sizes = [{ size: 30_000 }, { size: 1_000_000 }];

const otherBytes = (honest: Buffer): Buffer => randomBytes(honest.length, 'forged');
const flippedAtTheEnd = (honest: Buffer): Buffer => {
  const bytes = Buffer.from(honest);
  bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
  return bytes;
};

const faults: readonly { readonly what: string; readonly fault: Fault }[] = [
  { what: 'other bytes', fault: { body: otherBytes } },
  { what: 'bytes of which only the last differs', fault: { body: flippedAtTheEnd } },
  { what: 'other bytes in chunks', fault: { body: flippedAtTheEnd, contentLength: 'absent' } },
  { what: 'too few bytes', fault: { body: (honest) => honest.subarray(0, -10) } },
  { what: 'too few bytes in chunks', fault: { body: (honest) => honest.subarray(0, -10), contentLength: 'absent' } },
  { what: 'no bytes at all', fault: { body: () => Buffer.alloc(0) } },
  { what: 'too many bytes', fault: { body: (honest) => Buffer.concat([honest, Buffer.from('more')]) } },
  {
    what: 'too many bytes in chunks',
    fault: { body: (honest) => Buffer.concat([honest, Buffer.from('more')]), contentLength: 'absent' },
  },
  { what: 'bytes compressed on the way', fault: { gzip: true } },
  { what: 'a Content-Length beyond what follows', fault: { contentLength: 1_000_100, cutAfterBytes: 30_000 } },
];
const cases = faults.flatMap((fault) => sizes.map((size) => ({ ...fault, ...size })));

async function expectNothingKept(app: RunningApp): Promise<void> {
  await app.stop();
  const { blobs: kept, records, incoming } = await storeOnDisk(app.dataDirectory);
  expect({ kept: [...kept.keys()], records, incoming }).toEqual({ kept: [], records: [], incoming: [] });
}

/** Retries of broken transfers have their own tests. */
function withoutRetries(upstream: FakeRegistry): ReturnType<typeof mirrorOf> {
  return mirrorOf(upstream, { download: { attemptsWithoutProgress: 1 } });
}

test.each(cases)(
  'when a blob of $size bytes arrives as $what, no client gets a complete response, and nothing is stored',
  async ({ size, fault }) => {
    const upstream = await startFakeRegistry();
    const blob = randomBlob(size);
    upstream.content.addBlob(repository, blob);
    upstream.script({ method: 'GET', path: blobs }, fault);
    const app = await startAppInMemory(withoutRetries(upstream));
    const path = `/v2/${repository}/blobs/${blob.digest}`;
    const first = await open(app, path);
    const ended = await first.rest().then(
      () => 'complete',
      () => 'cut',
    );
    // A complete answer is an honest error; of one that is cut, the end of what was promised never left.
    const promised = typeof fault.contentLength === 'number' ? fault.contentLength : size;
    const mayLeave = Math.max(0, promised - withheldBytes);
    expect(ended === 'complete' ? first.status === 502 : first.receivedBytes <= mayLeave).toBe(true);
    await app.quiet();
    await expectNothingKept(app);
    upstream.clearScripts();
    await app.start(withoutRetries(upstream));
    expect((await pullBlob(app, repository, blob.digest)).cache).toBe('fwd=uri-miss; fwd-status=200; stored');
  },
);

test('a failed download affects only its own clients: the next pull is right, without a restart', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(1_000_000);
  upstream.content.addBlob(repository, blob);
  const half = gate();
  upstream.script({ path: blobs, times: 1 }, { body: flippedAtTheEnd, holdBody: { afterBytes: 500_000, until: half } });
  const app = await startAppInMemory(withoutRetries(upstream));
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  const followers = await Promise.all(Array.from({ length: 5 }, () => open(app, path)));
  half.open();
  for (const follower of followers) await expect(follower.rest()).rejects.toThrow('cut');
  expect((await ask(app, path)).body.equals(blob.bytes)).toBe(true);
  const metrics = await app.metrics();
  expect(metrics.sum('layerwell_cache_fills_total', { result: 'digest_mismatch' })).toBe(1);
  expect(upstream.count('GET', blobs)).toBe(2);
});

test('a chunked blob that is too short is an upstream failure, whatever size its manifest names', async () => {
  const upstream = await startFakeRegistry();
  const held = image();
  upstream.content.add(repository, '1', held);
  upstream.script({ path: blobs }, { body: (honest) => honest.subarray(0, -10), contentLength: 'absent' });
  const app = await startAppInMemory(withoutRetries(upstream));
  await get(app, `/v2/${repository}/manifests/1`);
  for (const { digest } of held.blobs) expect((await get(app, `/v2/${repository}/blobs/${digest}`)).status).toBe(502);
});

test.each([
  { what: 'other bytes', fault: { body: () => Buffer.from('{"schemaVersion":2}') } },
  { what: 'bytes of which one differs', fault: { body: flippedAtTheEnd } },
  { what: 'too few bytes', fault: { body: (honest: Buffer) => honest.subarray(0, -1) } },
  { what: 'bytes compressed on the way', fault: { gzip: true } },
  { what: 'a web page', fault: { headers: { 'content-type': 'text/html' }, body: () => Buffer.from('<html>log in') } },
] satisfies readonly { what: string; fault: Fault }[])(
  'a manifest that arrives as $what is rejected by digest and by tag, and not stored',
  async ({ fault }) => {
    const upstream = await startFakeRegistry();
    const held = image();
    upstream.content.add(repository, '1', held);
    upstream.script({ method: 'GET', path: manifests }, fault);
    const app = await startAppInMemory(mirrorOf(upstream));
    for (const reference of [held.manifest.digest, '1']) {
      const { status, bytes } = await get(app, `/v2/${repository}/manifests/${reference}`);
      expect(status).toBe(502);
      expect(JSON.parse(bytes.toString())).toMatchObject({ errors: [{ code: 'UNAVAILABLE' }] });
    }
    await expectNothingKept(app);
    upstream.clearScripts();
    await app.start(mirrorOf(upstream));
    await pullAll(app, repository, '1');
  },
);

test('a tag whose Docker-Content-Digest does not match the bytes is rejected, and not stored', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image());
  upstream.script(
    { path: manifests },
    { headers: { 'docker-content-digest': image({ name: 'other' }).manifest.digest } },
  );
  const app = await startAppInMemory(mirrorOf(upstream));
  expect((await get(app, `/v2/${repository}/manifests/1`)).status).toBe(502);
  await expectNothingKept(app);
});

test('a manifest larger than any client accepts is rejected, and not stored', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image());
  upstream.script(
    { path: manifests },
    { body: () => Buffer.alloc(4 * 1024 * 1024 + 1, ' '), withoutHeaders: ['docker-content-digest'] },
  );
  const app = await startAppInMemory(mirrorOf(upstream));
  expect((await get(app, `/v2/${repository}/manifests/1`)).status).toBe(502);
  await expectNothingKept(app);
});

test('a broken response does not end cleanly for an HTTP/1.0 client either, for which the end of the connection ends the body', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(1_000_000);
  upstream.content.addBlob(repository, blob);
  upstream.script({ path: blobs }, { body: flippedAtTheEnd, contentLength: 'absent' });
  const app = await startAppInMemory(mirrorOf(upstream));
  const { hostname, port, host } = new URL(app.url);
  const socket = connect(Number(port), hostname);
  const failed = once(socket, 'error'); // Awaited below.
  socket.resume();
  socket.write(`GET /v2/${repository}/blobs/${blob.digest} HTTP/1.0\r\nHost: ${host}\r\n\r\n`);
  const [error]: unknown[] = await failed;
  expect(error).toMatchObject({ code: 'ECONNRESET' });
});
