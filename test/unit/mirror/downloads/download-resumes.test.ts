import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import type { Checkpoint } from '../../../../src/mirror/ports/blob-store.ts';
import type { OpenedBlob } from '../../../../src/mirror/ports/upstream.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { OciError, UpstreamError } from '../../../../src/oci/errors.ts';
import { gate } from '../../../support/gate.ts';
import { randomBytes } from '../../../support/images.ts';
import { MemoryIncoming } from '../../../support/memory-incoming.ts';
import { body, readAll, startDownload, type StartOptions } from '../../../support/start-download.ts';

const mebibyte = 1024 * 1024;
const blob = randomBytes(40 * mebibyte, 'download');
const digest = digestOf(blob);
const size = blob.byteLength;
const cut = new UpstreamError('connect', 'closed the connection within the body');

const from = (position: number): OpenedBlob => ({ body: body(blob.subarray(position)), offset: position, size });
const checkpointOf = (bytes: number): Checkpoint => ({ bytes, digest: digestOf(blob.subarray(0, bytes)) });
const start = (options: Pick<StartOptions, 'first'> & Partial<StartOptions>) =>
  startDownload({ digest, size, ...options });

/** A blob in pieces of a MiB. */
function* inPieces(bytes: Buffer): Iterable<Buffer> {
  for (let position = 0; position < bytes.byteLength; position += mebibyte) {
    yield bytes.subarray(position, position + mebibyte);
  }
}

const leftBytes = 10 * mebibyte;
const left = { held: Buffer.from(blob.subarray(0, leftBytes)) };

test.each([
  { answer: 'the rest', offset: leftBytes },
  { answer: 'the rest and a byte more', offset: leftBytes - 1 },
  { answer: 'the whole again', offset: 0 },
])('a partial download is resumed when the upstream sends $answer', async ({ offset }) => {
  const { download, kept, asked, writtenBytes } = await start({
    first: from(offset),
    incoming: new MemoryIncoming(left),
    checkpoint: checkpointOf(leftBytes),
  });

  const [one, other] = await Promise.all([readAll(download.join()), readAll(download.join())]);

  expect(one.equals(blob)).toBe(true);
  expect(other.equals(blob)).toBe(true);
  expect(await download.ended).toMatchObject({ result: 'ok', bytes: size });
  expect(kept).toEqual([size]);
  expect(asked).toEqual([]);
  expect(writtenBytes()).toBe(size - leftBytes);
});

test('a partial download that is already complete is resumed', async () => {
  const { download, writtenBytes } = await start({
    first: from(size - 1),
    incoming: new MemoryIncoming({ held: Buffer.from(blob) }),
    checkpoint: checkpointOf(size),
  });
  expect((await readAll(download.join())).equals(blob)).toBe(true);
  expect(await download.ended).toMatchObject({ result: 'ok', bytes: size });
  expect(writtenBytes()).toBe(0);
});

const damaged = Buffer.from(left.held);
damaged[leftBytes - 1] = (damaged[leftBytes - 1] ?? 0) ^ 1;
const unreadable = async () => {
  throw new Error('EIO');
};

test.each([
  { what: 'has changed', options: { held: damaged } },
  { what: 'is shorter than its checkpoint', options: { held: left.held.subarray(1) } },
])('when the partial download $what, no reader gets a byte of it, and the download restarts', async ({ options }) => {
  const { download, asked, damages, incoming } = await start({
    first: from(leftBytes - 1),
    next: from,
    incoming: new MemoryIncoming(options),
    checkpoint: checkpointOf(leftBytes),
  });

  expect((await readAll(download.join())).equals(blob)).toBe(true);
  expect(await download.ended).toMatchObject({ result: 'ok', bytes: size });
  expect(incoming.isCleared).toBe(true);
  expect(asked).toEqual([0]);
  expect(damages).toHaveLength(1);
});

test('when the partial download cannot be read, the download restarts', async () => {
  const { download, asked, damages, incoming } = await start({
    first: from(leftBytes - 1),
    next: from,
    incoming: new MemoryIncoming({ ...left, beforeRead: unreadable }),
    checkpoint: checkpointOf(leftBytes),
  });
  expect(await download.ended).toMatchObject({ result: 'ok', bytes: size });
  expect(incoming.isCleared).toBe(true);
  expect(asked).toEqual([0]);
  expect(damages).toMatchObject([{ message: 'EIO' }]);
});

test('when the disk cannot restart the file, readers are served from the upstream', async () => {
  const incoming = new MemoryIncoming({ held: damaged });
  incoming.clear = unreadable;
  const { download } = await start({
    first: from(leftBytes - 1),
    next: from,
    incoming,
    checkpoint: checkpointOf(leftBytes),
  });
  expect((await readAll(download.join())).equals(blob)).toBe(true);
  expect((await download.ended).result).toBe('disk_error');
});

test('a download that is aborted while it reads back leaves the partial download unchanged', async () => {
  const disk = gate();
  const opened = from(leftBytes - 1);
  const { download, incoming } = await start({
    first: opened,
    incoming: new MemoryIncoming({ ...left, beforeRead: () => disk.opened }),
    checkpoint: checkpointOf(leftBytes),
  });
  download.abort(new UpstreamError('busy', 'the mirror is stopping'));
  disk.open();

  expect((await download.ended).result).toBe('aborted');
  expect(incoming).toMatchObject({ isLeft: true, isCleared: false, isDisposed: true, checkpoints: [] });
  expect(opened.body.destroyed).toBe(true);
});

test('checkpoints are made at intervals, with the state of the hash', async () => {
  const { download, incoming } = await start({ first: { body: body(...inPieces(blob)), offset: 0, size } });
  await download.ended;
  expect(incoming.checkpoints).toEqual([checkpointOf(16 * mebibyte), checkpointOf(32 * mebibyte)]);
});

test('a disk that is slow to checkpoint does not delay readers', async () => {
  const disk = gate();
  const incoming = new MemoryIncoming({ beforeCheckpoint: () => disk.opened });
  const { download } = await start({ first: { body: body(...inPieces(blob)), offset: 0, size }, incoming });
  expect((await readAll(download.join())).equals(blob)).toBe(true);
  expect(await download.ended).toMatchObject({ result: 'ok' });
  expect(incoming.checkpoints).toHaveLength(1);
  disk.open();
});

test('bytes written during a checkpoint are in the next one', async () => {
  const disk = gate();
  const stalled = new Readable({ read: () => {} });
  for (const piece of inPieces(blob.subarray(0, 36 * mebibyte))) stalled.push(piece);
  const incoming = new MemoryIncoming({ beforeCheckpoint: () => disk.opened });
  const { download } = await start({ first: { body: stalled, offset: 0, size }, incoming });
  const reader = download.join();
  await reader.read(Buffer.alloc(10), 36 * mebibyte - 10);
  expect(incoming.checkpoints).toHaveLength(1);
  disk.open();
  await expect.poll(() => incoming.checkpoints).toEqual([checkpointOf(16 * mebibyte), checkpointOf(36 * mebibyte)]);
  download.abort(new UpstreamError('busy', 'the test is over'));
  await download.ended;
});

const received = 12.5 * mebibyte;

test.each([
  { why: 'the upstream is gone', failure: cut, result: 'upstream_error' },
  { why: 'the upstream denies the rest', failure: new OciError('DENIED', 'no'), result: 'upstream_error' },
])('when $why, the bytes are left to the next attempt', async ({ failure, result }) => {
  const { download, incoming } = await start({
    first: { body: body(blob.subarray(0, received), cut), offset: 0, size },
    next: () => {
      throw failure;
    },
  });
  expect(await download.ended).toMatchObject({ result, bytes: received });
  expect(incoming).toMatchObject({ isLeft: true, isDisposed: true, checkpoints: [checkpointOf(received)] });
});

test('when a download gives up its slot, its bytes are left to the next attempt', async () => {
  const stalled = new Readable({ read: () => {} });
  stalled.push(blob.subarray(0, received));
  const { download, incoming } = await start({ first: { body: stalled, offset: 0, size } });
  await download.join().read(Buffer.alloc(10), 0);
  download.abort(new UpstreamError('busy', 'yielded'));
  expect((await download.ended).result).toBe('aborted');
  expect(incoming).toMatchObject({ isLeft: true, checkpoints: [checkpointOf(received)] });
});

test('a small partial download is not kept', async () => {
  const { download, incoming } = await start({
    first: { body: body(blob.subarray(0, 7 * mebibyte), cut), offset: 0, size },
  });
  expect((await download.ended).result).toBe('upstream_error');
  expect(incoming).toMatchObject({ isLeft: false, isDisposed: true, checkpoints: [] });
});

const wrong = Buffer.from(blob);
wrong[5] = (wrong[5] ?? 0) ^ 1;

test.each([
  { what: 'wrong bytes arrived', first: { body: body(wrong), offset: 0, size }, result: 'digest_mismatch' },
  {
    what: 'too many bytes arrived',
    first: { body: body(blob, Buffer.from('more')), offset: 0, size },
    result: 'short',
  },
])('when $what, no partial download is kept', async ({ first, result }) => {
  const { download, incoming } = await start({ first });
  expect((await download.ended).result).toBe(result);
  expect(incoming).toMatchObject({ isLeft: false, isDisposed: true });
});

test('when the disk fails, no partial download is kept', async () => {
  const { download, incoming } = await start({
    first: { body: body(...inPieces(blob)), offset: 0, size },
    incoming: new MemoryIncoming({ maxBytes: 20 * mebibyte }),
  });
  expect((await download.ended).result).toBe('disk_error');
  expect(incoming).toMatchObject({ isLeft: false, isDisposed: true });
});
