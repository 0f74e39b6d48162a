import { expect, test } from 'vitest';
import type { BlobSource } from '../../../../src/mirror/ports/shared-work.ts';
import type { OpenedBlob } from '../../../../src/mirror/ports/upstream.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { UpstreamError } from '../../../../src/oci/errors.ts';
import { randomBytes } from '../../../support/images.ts';
import { body, readAll, startDownloadFrom } from '../../../support/start-download.ts';

const mebibyte = 1024 * 1024;
const blob = randomBytes(3 * mebibyte, 'sources');
const digest = digestOf(blob);
const size = blob.byteLength;
const broken = new UpstreamError('connect', 'closed the connection within the body');

interface Script {
  /** Absent: what it is asked for. */
  readonly answer?: (position: number) => OpenedBlob | undefined;
}

const from = (position: number): OpenedBlob => ({ body: body(blob.subarray(position)), offset: position, size });

/** A source that notes from where it was asked, and whether it was told of wrong bytes. */
function sourceOf({ answer = from }: Script = {}) {
  const asked: number[] = [];
  const told = { wrongBytes: 0 };
  const source: BlobSource = {
    open: async (_, __, { range }) => {
      const position = range?.start ?? 0;
      asked.push(position);
      return answer(position);
    },
    failedVerification: () => {
      told.wrongBytes += 1;
    },
  };
  return { source, asked, told };
}

const startFrom = (...sources: readonly { readonly source: BlobSource }[]) =>
  startDownloadFrom(
    sources.map(({ source }) => source),
    { digest, size },
  );

test('a blob that the first source lacks comes from the second', async () => {
  const [sibling, upstream] = [sourceOf({ answer: () => undefined }), sourceOf()];
  const { download, kept } = await startFrom(sibling, upstream);
  expect((await readAll(download.join())).equals(blob)).toBe(true);
  expect(await download.ended).toMatchObject({ result: 'ok', bytes: size });
  expect(kept).toEqual([size]);
  expect(sibling.asked).toEqual([0]);
  expect(upstream.asked).toEqual([0]);
});

test('when the first source has the blob, the second gets no request', async () => {
  const [sibling, upstream] = [sourceOf(), sourceOf()];
  const { download } = await startFrom(sibling, upstream);
  expect(await download.ended).toMatchObject({ result: 'ok' });
  expect(upstream.asked).toEqual([]);
});

test('when the first source breaks off in the middle, the second continues at that byte', async () => {
  const answer = () => ({ body: body(blob.subarray(0, mebibyte), broken), offset: 0, size });
  const [sibling, upstream] = [sourceOf({ answer }), sourceOf()];
  const { download, kept } = await startFrom(sibling, upstream);
  const [one, other] = await Promise.all([readAll(download.join()), readAll(download.join())]);
  expect(one.equals(blob)).toBe(true);
  expect(other.equals(blob)).toBe(true);
  expect(kept).toEqual([size]);
  expect(sibling.asked).toEqual([0]);
  expect(upstream.asked).toEqual([mebibyte]);
});

test.each([
  { what: 'ends early', answer: () => ({ body: body(blob.subarray(0, mebibyte)), offset: 0, size }), at: mebibyte },
  { what: 'has a blob of another size', answer: () => ({ body: body(blob), offset: 0, size: 17 }), at: 0 },
])('when the first source $what, the second continues', async ({ answer, at }) => {
  const told = { body: body(blob.subarray(0, 5), broken), offset: 0, size };
  const [sibling, upstream] = [sourceOf({ answer }), sourceOf()];
  const first = sourceOf({ answer: () => told });
  const { download } = await startFrom(...(at === 0 ? [first, sibling, upstream] : [sibling, upstream]));
  expect((await readAll(download.join())).equals(blob)).toBe(true);
  expect(upstream.asked).toEqual([at === 0 ? 5 : at]);
});

test('the last source is resumed, because there is no other', async () => {
  let answers = 0;
  const answer = (position: number) => {
    answers += 1;
    const sent = blob.subarray(position, answers < 3 ? position + mebibyte : size);
    return { body: answers < 3 ? body(sent, broken) : body(sent), offset: position, size };
  };
  const [sibling, upstream] = [sourceOf({ answer: () => undefined }), sourceOf({ answer })];
  const { download } = await startFrom(sibling, upstream);
  expect((await readAll(download.join())).equals(blob)).toBe(true);
  expect(upstream.asked).toEqual([0, mebibyte, 2 * mebibyte]);
  expect(sibling.asked).toEqual([0]);
});

test('when the first source sends wrong bytes, no reader gets the whole blob, and only that source is blamed', async () => {
  const wrong = Buffer.from(blob);
  wrong[5] = (wrong[5] ?? 0) ^ 1;
  const [sibling, upstream] = [sourceOf({ answer: () => ({ body: body(wrong), offset: 0, size }) }), sourceOf()];
  const { download, kept } = await startFrom(sibling, upstream);
  await expect(readAll(download.join())).rejects.toThrow('where sha256:');
  expect((await download.ended).result).toBe('digest_mismatch');
  expect(kept).toEqual([]);
  expect(sibling.told.wrongBytes).toBe(1);
  expect(upstream.asked).toEqual([]);
  expect(upstream.told.wrongBytes).toBe(0);
});

test('when sources together send wrong bytes, all that sent some are blamed', async () => {
  const wrong = Buffer.from(blob.subarray(0, mebibyte));
  wrong[5] = (wrong[5] ?? 0) ^ 1;
  const answer = () => ({ body: body(wrong, broken), offset: 0, size });
  const [sibling, upstream] = [sourceOf({ answer }), sourceOf()];
  const { download, kept } = await startFrom(sibling, upstream);
  await expect(readAll(download.join())).rejects.toThrow('where sha256:');
  expect((await download.ended).result).toBe('digest_mismatch');
  expect(kept).toEqual([]);
  expect(sibling.told.wrongBytes).toBe(1);
  expect(upstream.told.wrongBytes).toBe(1);
});

test.each([
  { what: 'promises another size', answer: () => ({ body: body(blob), offset: 0, size: 17 }), at: 0 },
  {
    what: 'sends more than it promised',
    answer: () => ({ body: body(blob.subarray(0, mebibyte), Buffer.alloc(size)), offset: 0, size: undefined }),
    at: mebibyte,
  },
  {
    what: 'sends one byte more than it promised',
    answer: () => ({ body: body(blob, Buffer.alloc(1)), offset: 0, size }),
    at: undefined,
  },
])('when the first source $what, the client gets the blob from the second', async ({ answer, at }) => {
  const [sibling, upstream] = [sourceOf({ answer }), sourceOf()];
  const { download, kept } = await startFrom(sibling, upstream);
  expect((await readAll(download.join())).equals(blob)).toBe(true);
  expect(await download.ended).toMatchObject({ result: 'ok' });
  expect(upstream.asked).toEqual(at === undefined ? [] : [at]);
  expect(kept).toEqual([size]);
});

test('a blob whose sources break off at every byte is whole in the end', async () => {
  const small = blob.subarray(0, 200);
  const sources = [...small.keys()].map((at) =>
    sourceOf({
      answer: (position) => ({ body: body(small.subarray(position, at), broken), offset: position, size: 200 }),
    }),
  );
  const last = sourceOf({ answer: (offset) => ({ body: body(small.subarray(offset)), offset, size: 200 }) });
  const { download } = await startDownloadFrom(
    [...sources, last].map(({ source }) => source),
    { digest: digestOf(small), size: 200 },
  );
  expect((await readAll(download.join())).equals(small)).toBe(true);
  expect(sources.map(({ asked }) => asked)).toEqual([...small.keys()].map((at) => [Math.max(0, at - 1)]));
  expect(last.asked).toEqual([199]);
});

test('a stored blob is announced to the other replicas once, and a blob that was not stored never', async () => {
  const stored = await startFrom(sourceOf());
  await stored.download.ended;
  expect(stored.announced).toMatchObject([{ digest, repositoryId: { repository: 'library/app' } }]);
  const failed = await startFrom(sourceOf({ answer: () => ({ body: body(Buffer.alloc(size)), offset: 0, size }) }));
  expect((await failed.download.ended).result).toBe('digest_mismatch');
  expect(failed.announced).toEqual([]);
});
