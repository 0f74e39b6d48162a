import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import type { ByteSource } from '../../../../src/mirror/ports/byte-source.ts';
import type { OpenedBlob } from '../../../../src/mirror/ports/upstream.ts';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { OciError, UpstreamError } from '../../../../src/oci/errors.ts';
import { gate } from '../../../support/gate.ts';
import { randomBytes } from '../../../support/images.ts';
import { MemoryIncoming } from '../../../support/memory-incoming.ts';
import { body, readAll, startDownload } from '../../../support/start-download.ts';

const mebibyte = 1024 * 1024;
const blob = randomBytes(3 * mebibyte, 'download');
const digest = digestOf(blob);
const cut = new UpstreamError('connect', 'closed the connection within the body');

function opened(pieces: Readable, offset = 0, size: number | undefined = blob.byteLength): OpenedBlob {
  return { body: pieces, offset, size };
}

interface Options {
  readonly first: OpenedBlob;
  readonly next?: (position: number) => OpenedBlob;
  readonly incoming?: MemoryIncoming;
  readonly size?: number | undefined;
  readonly expectedDigest?: Digest;
  readonly maxAbandoned?: number;
}

function start({ expectedDigest = digest, ...options }: Options) {
  return startDownload({ size: blob.byteLength, ...options, digest: expectedDigest });
}

test('every reader gets the whole blob, and it is stored once', async () => {
  const { download, kept } = await start({ first: opened(body(blob.subarray(0, mebibyte), blob.subarray(mebibyte))) });

  const [one, other] = await Promise.all([readAll(download.join()), readAll(download.join())]);

  expect(one.equals(blob)).toBe(true);
  expect(other.equals(blob)).toBe(true);
  expect(await download.ended).toMatchObject({ result: 'ok', bytes: blob.byteLength });
  expect(kept).toEqual([blob.byteLength]);
});

test('no reader gets the end of a blob before all of it is verified', async () => {
  const last = gate();
  const { download } = await start({ first: opened(body(blob.subarray(0, -1), last.opened, blob.subarray(-1))) });
  const source = download.join();
  const seen = Buffer.alloc(blob.byteLength);
  let position = 0;
  while (position < blob.byteLength - 64 * 1024) position += await source.read(seen.subarray(position), position);

  const end = source.read(seen.subarray(position), position);
  expect(position).toBe(blob.byteLength - 64 * 1024);
  last.open();

  expect(await end).toBe(64 * 1024);
  expect(seen.equals(blob)).toBe(true);
});

test('wrong bytes never complete for any reader, and are not stored', async () => {
  const wrong = Buffer.from(blob);
  wrong[5] = (wrong[5] ?? 0) ^ 1;
  const { download, kept, incoming } = await start({ first: opened(body(wrong)) });
  const source = download.join();

  await expect(readAll(source)).rejects.toThrow('where sha256:');
  await source[Symbol.asyncDispose]();

  expect(await download.ended).toMatchObject({ result: 'digest_mismatch' });
  expect(kept).toEqual([]);
  expect(incoming.isDisposed).toBe(true);
});

test.each([
  { answer: 'the rest', offsetOf: (position: number) => position },
  { answer: 'the whole again', offsetOf: () => 0 },
])('a broken transfer is resumed when the upstream sends $answer', async ({ offsetOf }) => {
  const { download, asked } = await start({
    first: opened(body(blob.subarray(0, mebibyte), cut)),
    next: (position) => opened(body(blob.subarray(offsetOf(position))), offsetOf(position)),
  });

  expect((await readAll(download.join())).equals(blob)).toBe(true);
  expect(asked).toEqual([mebibyte]);
});

test.each([
  { what: 'another part', answer: () => opened(body(blob.subarray(7)), blob.byteLength - 3) },
  { what: 'another blob', answer: (position: number) => opened(body(blob.subarray(position)), position, 17) },
])('a transfer that would resume with $what fails', async ({ answer }) => {
  const { download } = await start({ first: opened(body(blob.subarray(0, mebibyte), cut)), next: answer });

  await expect(readAll(download.join())).rejects.toThrow('a range that does not match the request');
  expect((await download.ended).result).toBe('short');
});

test('a transfer is retried while there is progress, and given up without', async () => {
  let answers = 0;
  const { download, asked } = await start({
    first: opened(body(blob.subarray(0, 1000), cut)),
    next: (position) => {
      answers += 1;
      return opened(answers <= 10 ? body(blob.subarray(position, position + 1000), cut) : body(cut), position);
    },
  });

  expect(await download.ended).toMatchObject({ result: 'upstream_error', bytes: 11_000, cause: cut });
  expect(asked).toHaveLength(10 + 3);
});

test('a definite refusal is not retried', async () => {
  const { download, asked } = await start({
    first: opened(body(blob.subarray(0, 1000), cut)),
    next: () => {
      throw new OciError('DENIED', 'no');
    },
  });

  expect(await download.ended).toMatchObject({ result: 'upstream_error' });
  expect(asked).toEqual([1000]);
});

test('a body longer than announced fails', async () => {
  const { download } = await start({ first: opened(body(blob, Buffer.from('more'))) });

  await expect(readAll(download.join())).rejects.toThrow('more than');
  expect((await download.ended).result).toBe('short');
});

test('a blob of unknown size is verified all the same', async () => {
  const { download } = await start({ first: opened(body(blob), 0, undefined), size: undefined });

  expect((await readAll(download.join())).equals(blob)).toBe(true);
  expect(await download.ended).toMatchObject({ result: 'ok' });
});

test('when the disk fails, all readers continue from one upstream answer', async () => {
  const { download, asked, kept } = await start({
    first: opened(body(blob.subarray(0, mebibyte), blob.subarray(mebibyte, 2 * mebibyte), blob.subarray(2 * mebibyte))),
    next: (position) => opened(body(blob.subarray(position)), position),
    incoming: new MemoryIncoming({ maxBytes: mebibyte }),
  });

  const [one, other] = await Promise.all([readAll(download.join()), readAll(download.join())]);

  expect(one.equals(blob)).toBe(true);
  expect(other.equals(blob)).toBe(true);
  expect(asked).toEqual([mebibyte]);
  expect(await download.ended).toMatchObject({ result: 'disk_error' });
  expect(kept).toEqual([]);
});

test('when the disk fails, a reader that may not ask for the rest fails there', async () => {
  const incoming = new MemoryIncoming({ maxBytes: mebibyte });
  const { download, asked } = await start({ first: opened(body(...piecesOf(blob))), incoming });
  await expect(readAll(download.join({ mayAskForRest: false }))).rejects.toMatchObject({ reason: 'busy' });
  expect(asked).toEqual([]);
});

test('when the disk fails, wrong bytes still never complete for any reader', async () => {
  const wrong = Buffer.from(blob);
  wrong[blob.byteLength - 1] = (wrong.at(-1) ?? 0) ^ 1;
  const { download } = await start({
    first: opened(body(blob.subarray(0, mebibyte), blob.subarray(mebibyte))),
    next: (position) => opened(body(wrong.subarray(position)), position),
    incoming: new MemoryIncoming({ maxBytes: mebibyte }),
  });

  await expect(readAll(download.join())).rejects.toThrow('where sha256:');
});

test('a download continues when its readers have left, and its last user closes the file', async () => {
  const rest = gate();
  const { download, kept, incoming } = await start({
    first: opened(body(blob.subarray(0, mebibyte), rest.opened, blob.subarray(mebibyte))),
  });
  const source = download.join();
  await source.read(Buffer.alloc(10), 0);
  await source[Symbol.asyncDispose]();

  expect(download.isAbandoned).toBe(true);
  expect(incoming.isDisposed).toBe(false);
  rest.open();
  await download.ended;

  expect(kept).toEqual([blob.byteLength]);
  expect(incoming.isDisposed).toBe(true);
});

test('a download whose readers have left ends, if no more may continue without readers', async () => {
  const stalled = new Readable({ read: () => {} });
  stalled.push(blob.subarray(0, mebibyte));
  const { download } = await start({ first: opened(stalled), maxAbandoned: 0 });
  const source = download.join();
  await source.read(Buffer.alloc(10), 0);
  expect(download.isAbandoned).toBe(false);
  await source[Symbol.asyncDispose]();
  expect((await download.ended).result).toBe('aborted');
});

test('a download whose file cannot be closed still ends', async () => {
  const incoming = new MemoryIncoming();
  incoming[Symbol.asyncDispose] = () => Promise.reject(new Error('EIO'));
  const { download, damages } = await start({ first: opened(body(blob)), incoming });
  expect(await download.ended).toMatchObject({ result: 'ok', bytes: blob.byteLength });
  expect(damages).toHaveLength(1);
});

test('aborting a download cuts its readers', async () => {
  const stalled = new Readable({ read: () => {} });
  stalled.push(blob.subarray(0, mebibyte));
  const { download } = await start({ first: opened(stalled) });
  const source = download.join();
  await source.read(Buffer.alloc(10), 0);
  const waiting = readAll(source);
  download.abort(new UpstreamError('busy', 'yielded'));

  await expect(waiting).rejects.toThrow('yielded');
  expect((await download.ended).result).toBe('aborted');
});

/** Reads by borrowing where it can. */
async function borrowAll(source: ByteSource): Promise<Buffer> {
  const seen: Buffer[] = [];
  for (let position = 0; position < blob.byteLength; ) {
    const borrowed = await source.borrow?.(position, mebibyte);
    const into = Buffer.alloc(borrowed ? 0 : mebibyte);
    const bytes = borrowed?.bytes ?? (await source.read(into, position));
    seen.push(...(borrowed?.pieces.map((piece) => Buffer.from(piece)) ?? [into.subarray(0, bytes)]));
    borrowed?.end();
    position += bytes;
  }
  return Buffer.concat(seen);
}

test('a reader that keeps up borrows the buffers just written: the file is not read', async () => {
  let reads = 0;
  const incoming = new MemoryIncoming({
    beforeRead: async () => {
      reads += 1;
    },
  });
  const { download } = await start({ first: opened(body(...piecesOf(blob))), incoming });
  expect((await borrowAll(download.join())).equals(blob)).toBe(true);
  expect(reads).toBe(0);
});

test('a reader that falls behind reads the file', async () => {
  const { download } = await start({ first: opened(body(...piecesOf(blob))) });
  const source = download.join();
  await download.settled;
  expect(await source.borrow?.(0, mebibyte)).toBeUndefined();
  expect((await borrowAll(source)).equals(blob)).toBe(true);
});

test('no reader borrows the end of a blob before the whole blob is verified', async () => {
  const last = gate();
  const { download } = await start({
    first: opened(body(...piecesOf(blob.subarray(0, -20_000)), last.opened, blob.subarray(-20_000))),
  });
  const source = download.join();
  const before = blob.byteLength - 64 * 1024;
  expect((await source.borrow?.(before - 10, mebibyte))?.bytes).toBe(10);
  const end = source.borrow?.(before, mebibyte);
  last.open();
  expect((await end)?.bytes).toBe(64 * 1024);
});

test('no reader borrows from a failed download, and reading reports why it failed', async () => {
  const wrong = Buffer.from(blob);
  wrong[5] = (wrong[5] ?? 0) ^ 1;
  const { download } = await start({ first: opened(body(wrong)) });
  const source = download.join();
  await download.ended;
  expect(await source.borrow?.(blob.byteLength - 1, 1)).toBeUndefined();
  await expect(source.read(Buffer.alloc(1), blob.byteLength - 1)).rejects.toThrow('where sha256:');
});

test('a reader that has left does not wait for a buffer', async () => {
  const { download } = await start({ first: opened(body(blob.subarray(0, mebibyte), gate().opened)) });
  const source = download.join();
  const borrowed = source.borrow?.(2 * mebibyte, 1);
  await source[Symbol.asyncDispose]();
  expect(await borrowed).toBeUndefined();
  download.abort(new Error('the test is over'));
});

function piecesOf(bytes: Uint8Array): Uint8Array[] {
  const pieceBytes = 64 * 1024;
  const pieces = Math.ceil(bytes.byteLength / pieceBytes);
  return Array.from({ length: pieces }, (_, i) => bytes.slice(i * pieceBytes, (i + 1) * pieceBytes));
}
