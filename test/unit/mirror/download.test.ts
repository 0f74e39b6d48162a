import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { Download } from '../../../src/mirror/download.ts';
import type { ByteSource, IncomingBlob, Mark, OpenedBlob } from '../../../src/mirror/ports.ts';
import { type Digest, digestOf } from '../../../src/oci/digest.ts';
import { OciError, UpstreamError } from '../../../src/oci/errors.ts';
import { gate } from '../../support/gate.ts';
import { randomBytes } from '../../support/images.ts';

const mebibyte = 1024 * 1024;
const blob = randomBytes(3 * mebibyte, 'download');
const digest = digestOf(blob);
const cut = new UpstreamError('connect', 'closed the connection within the body');

/** A file in memory that can refuse to grow. */
class MemoryIncoming implements IncomingBlob {
  bytes = Buffer.alloc(0);
  isDisposed = false;
  isCommitted = false;
  isLeft = false;
  isCleared = false;
  readonly marks: Mark[] = [];
  readonly #maxBytes: number;

  constructor({ maxBytes = Infinity } = {}) {
    this.#maxBytes = maxBytes;
  }

  async append(chunks: readonly Uint8Array[]): Promise<void> {
    const grown = Buffer.concat([this.bytes, ...chunks]);
    if (grown.byteLength > this.#maxBytes) throw new Error('ENOSPC');
    this.bytes = grown;
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    return this.bytes.copy(into, 0, position);
  }

  async mark(mark: Mark): Promise<void> {
    this.marks.push(mark);
  }

  async leave(): Promise<void> {
    this.isLeft = true;
  }

  async clear(): Promise<void> {
    this.bytes = Buffer.alloc(0);
    this.isCleared = true;
  }

  async commit(): Promise<void> {
    this.isCommitted = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.isDisposed = true;
  }
}

/** A body of the given pieces, of which an error is thrown and a promise waited for. */
function body(...pieces: readonly (Uint8Array | Error | Promise<void>)[]): Readable {
  return Readable.from(
    (async function* () {
      for (const piece of pieces) {
        if (piece instanceof Error) throw piece;
        if (piece instanceof Promise) await piece;
        else yield piece;
      }
    })(),
  );
}

function opened(pieces: Readable, offset = 0, size: number | undefined = blob.byteLength): OpenedBlob {
  return { body: pieces, offset, size };
}

interface Options {
  readonly first: OpenedBlob;
  readonly then?: (position: number) => OpenedBlob;
  readonly incoming?: MemoryIncoming;
  readonly size?: number | undefined;
  readonly of?: Digest;
}

function start({ first, then, incoming = new MemoryIncoming(), of = digest, ...rest }: Options) {
  const asked: number[] = [];
  const kept: number[] = [];
  let abandoned = 0;
  const download = new Download({
    digest: of,
    size: 'size' in rest ? rest.size : blob.byteLength,
    opened: first,
    openAt: async (position) => {
      asked.push(position);
      if (!then) throw new UpstreamError('connect', 'refused');
      return then(position);
    },
    incoming,
    keep: async ({ size }) => {
      kept.push(size);
    },
    onAbandoned: () => {
      abandoned += 1;
    },
    onWritten: () => {},
    onDamaged: () => {},
    attemptsWithoutProgress: 3,
    wait: async () => {},
  });
  return { download, asked, kept, incoming, abandoned: () => abandoned };
}

/** Reads to the end. @throws what the source does. */
async function readAll(source: ByteSource): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (let position = 0; ; ) {
    const buffer = Buffer.alloc(100_000);
    const bytes = await source.read(buffer, position);
    if (bytes === 0) return Buffer.concat(pieces);
    pieces.push(buffer.subarray(0, bytes));
    position += bytes;
  }
}

test('every reader gets the whole blob, and it is kept once', async () => {
  const { download, kept } = start({ first: opened(body(blob.subarray(0, mebibyte), blob.subarray(mebibyte))) });

  const [one, other] = await Promise.all([readAll(download.join()), readAll(download.join())]);

  expect(one.equals(blob)).toBe(true);
  expect(other.equals(blob)).toBe(true);
  expect(await download.ended).toMatchObject({ result: 'ok', bytes: blob.byteLength });
  expect(kept).toEqual([blob.byteLength]);
});

test('no reader gets the end of a blob before all of it is verified', async () => {
  const last = gate();
  const { download } = start({ first: opened(body(blob.subarray(0, -1), last.opened, blob.subarray(-1))) });
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

test('wrong bytes reach no reader whole, and are not kept', async () => {
  const wrong = Buffer.from(blob);
  wrong[5] = (wrong[5] ?? 0) ^ 1;
  const { download, kept, incoming } = start({ first: opened(body(wrong)) });
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
])('a transfer that breaks goes on when the upstream sends $answer', async ({ offsetOf }) => {
  const { download, asked } = start({
    first: opened(body(blob.subarray(0, mebibyte), cut)),
    then: (position) => opened(body(blob.subarray(offsetOf(position))), offsetOf(position)),
  });

  expect((await readAll(download.join())).equals(blob)).toBe(true);
  expect(asked).toEqual([mebibyte]);
});

test.each([
  { what: 'another part', answer: () => opened(body(blob.subarray(7)), blob.byteLength - 3) },
  { what: 'another blob', answer: (position: number) => opened(body(blob.subarray(position)), position, 17) },
])('a transfer that would go on with $what fails', async ({ answer }) => {
  const { download } = start({ first: opened(body(blob.subarray(0, mebibyte), cut)), then: answer });

  await expect(readAll(download.join())).rejects.toThrow('another part or another blob');
  expect((await download.ended).result).toBe('short');
});

test('it is tried again as long as there is progress, and given up when there is none', async () => {
  let answers = 0;
  const { download, asked } = start({
    first: opened(body(blob.subarray(0, 1000), cut)),
    then: (position) => {
      answers += 1;
      return opened(answers <= 10 ? body(blob.subarray(position, position + 1000), cut) : body(cut), position);
    },
  });

  expect(await download.ended).toMatchObject({ result: 'upstream_error', bytes: 11_000, cause: cut });
  expect(asked).toHaveLength(10 + 3);
});

test('a refusal is not tried again', async () => {
  const { download, asked } = start({
    first: opened(body(blob.subarray(0, 1000), cut)),
    then: () => {
      throw new OciError('DENIED', 'no');
    },
  });

  expect(await download.ended).toMatchObject({ result: 'upstream_error' });
  expect(asked).toEqual([1000]);
});

test('a body longer than was promised fails', async () => {
  const { download } = start({ first: opened(body(blob, Buffer.from('more'))) });

  await expect(readAll(download.join())).rejects.toThrow('more than');
  expect((await download.ended).result).toBe('short');
});

test('a blob whose size nobody told is verified all the same', async () => {
  const { download } = start({ first: opened(body(blob), 0, undefined), size: undefined });

  expect((await readAll(download.join())).equals(blob)).toBe(true);
  expect(await download.ended).toMatchObject({ result: 'ok' });
});

test('when the disk takes no more, every reader goes on with an upstream answer of its own', async () => {
  const { download, asked, kept } = start({
    first: opened(body(blob.subarray(0, mebibyte), blob.subarray(mebibyte, 2 * mebibyte), blob.subarray(2 * mebibyte))),
    then: (position) => opened(body(blob.subarray(position)), position),
    incoming: new MemoryIncoming({ maxBytes: mebibyte }),
  });

  const [one, other] = await Promise.all([readAll(download.join()), readAll(download.join())]);

  expect(one.equals(blob)).toBe(true);
  expect(other.equals(blob)).toBe(true);
  expect(asked).toEqual([mebibyte, mebibyte]);
  expect(await download.ended).toMatchObject({ result: 'disk_error' });
  expect(kept).toEqual([]);
});

test('when the disk takes no more, wrong bytes still reach no reader whole', async () => {
  const wrong = Buffer.from(blob);
  wrong[blob.byteLength - 1] = (wrong.at(-1) ?? 0) ^ 1;
  const { download } = start({
    first: opened(body(blob.subarray(0, mebibyte), blob.subarray(mebibyte))),
    then: (position) => opened(body(wrong.subarray(position)), position),
    incoming: new MemoryIncoming({ maxBytes: mebibyte }),
  });

  await expect(readAll(download.join())).rejects.toThrow('where sha256:');
});

test('it goes on when its readers have left, and the file is closed by the last to use it', async () => {
  const rest = gate();
  const { download, kept, incoming, abandoned } = start({
    first: opened(body(blob.subarray(0, mebibyte), rest.opened, blob.subarray(mebibyte))),
  });
  const source = download.join();
  await source.read(Buffer.alloc(10), 0);
  await source[Symbol.asyncDispose]();

  expect(abandoned()).toBe(1);
  expect(download.isAbandoned).toBe(true);
  expect(incoming.isDisposed).toBe(false);
  rest.open();
  await download.ended;

  expect(kept).toEqual([blob.byteLength]);
  expect(incoming.isDisposed).toBe(true);
});

test('aborting it cuts its readers', async () => {
  const stalled = new Readable({ read: () => {} });
  stalled.push(blob.subarray(0, mebibyte));
  const { download } = start({ first: opened(stalled) });
  const source = download.join();
  await source.read(Buffer.alloc(10), 0);
  const waiting = readAll(source);
  download.abort(new UpstreamError('busy', 'yielded'));

  await expect(waiting).rejects.toThrow('yielded');
  expect((await download.ended).result).toBe('aborted');
});
