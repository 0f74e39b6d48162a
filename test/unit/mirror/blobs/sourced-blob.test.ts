import { expect, test } from 'vitest';
import type { BlobSource } from '../../../../src/mirror/ports/shared-work.ts';
import type { OpenedBlob } from '../../../../src/mirror/ports/upstream.ts';
import { SourcedBlob } from '../../../../src/mirror/blobs/upstream-blobs.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { OciError, UpstreamError } from '../../../../src/oci/errors.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { body } from '../../../support/start-download.ts';

const digest = digestOf(Buffer.from('layer'));
const repositoryId = { upstream: 'docker.io', repository: parseRepository('library/app') };
const waiting = { signal: new AbortController().signal };

/** A source that counts what it is asked. */
function sourceOf(answer: () => OpenedBlob | undefined) {
  const asked: unknown[] = [];
  let failures = 0;
  const source: BlobSource = {
    open: async (_, __, { range }) => {
      asked.push(range);
      return answer();
    },
    failedVerification: () => {
      failures += 1;
    },
  };
  return { source, asked, failures: () => failures };
}

const opened = (): OpenedBlob => ({ body: body(), offset: 0, size: 10 });
const notHere = () => sourceOf(() => undefined);
const holding = () => sourceOf(opened);
const failing = (cause: Error) =>
  sourceOf(() => {
    throw cause;
  });

const saying = (size: number | undefined) => sourceOf(() => ({ body: body(), offset: 0, size }));
const again = (one: ReturnType<typeof sourceOf>) => ({
  ...one,
  source: { ...one.source, brokeOff: () => 'ask-again' as const },
});

function blobAt(...sources: readonly { readonly source: BlobSource }[]): SourcedBlob {
  return new SourcedBlob({ repositoryId, digest, sources: sources.map(({ source }) => source) });
}

test('a whole blob is requested without a range, and a part with one', async () => {
  const source = holding();
  const blob = blobAt(source);
  await blob.open(0, undefined, waiting);
  await blob.open(5, undefined, waiting);
  await blob.open(0, 5, waiting);
  expect(source.asked).toEqual([undefined, { start: 5, end: undefined }, { start: 0, end: 5 }]);
});

test('when the first source lacks the blob the next is asked, and the first not again', async () => {
  const [first, second] = [notHere(), holding()];
  const blob = blobAt(first, second);
  await blob.open(0, undefined, waiting);
  await blob.open(5, undefined, waiting);
  expect(first.asked).toHaveLength(1);
  expect(second.asked).toHaveLength(2);
});

test('when the first source does not answer the next is asked', async () => {
  const [first, second] = [failing(new UpstreamError('timeout', 'silent')), holding()];
  await blobAt(first, second).open(0, undefined, waiting);
  expect(second.asked).toHaveLength(1);
});

test('an error of the last source is thrown, and the source is asked again', async () => {
  const last = failing(new UpstreamError('connect', 'refused'));
  const blob = blobAt(notHere(), last);
  await expect(blob.open(0, undefined, waiting)).rejects.toThrow('refused');
  await expect(blob.open(0, undefined, waiting)).rejects.toThrow('refused');
  expect(last.asked).toHaveLength(2);
});

test('a blob that no source has is unknown', async () => {
  const failed = blobAt(notHere(), notHere()).open(0, undefined, waiting);
  await expect(failed).rejects.toBeInstanceOf(OciError);
  await expect(failed).rejects.toMatchObject({ code: 'BLOB_UNKNOWN' });
});

test('an aborted caller causes no further request', async () => {
  const left = new AbortController();
  const [first, second] = [
    sourceOf(() => {
      left.abort(new UpstreamError('busy', 'left'));
      throw new UpstreamError('busy', 'left');
    }),
    holding(),
  ];
  await expect(blobAt(first, second).open(0, undefined, left)).rejects.toThrow('left');
  expect(second.asked).toEqual([]);
});

test('a skipped source is not asked again; the last one cannot be skipped', async () => {
  const [first, last] = [holding(), holding()];
  const blob = blobAt(first, last);
  const one = await blob.open(0, undefined, waiting);
  expect(blob.skipSource(one)).toBe(true);
  expect(blob.skipSource(one)).toBe(true);
  const other = await blob.open(0, undefined, waiting);
  expect(first.asked).toHaveLength(1);
  expect(blob.skipSource(other)).toBe(false);
  await blob.open(0, undefined, waiting);
  expect(last.asked).toHaveLength(2);
});

test('wrong bytes are reported to the sources that sent some, and to no other', async () => {
  const [first, second, third] = [notHere(), holding(), holding()];
  const blob = blobAt(first, second, third);
  await blob.open(0, undefined, waiting);
  blob.failedVerification();
  expect([first, second, third].map(({ failures }) => failures())).toEqual([0, 1, 0]);
});

test('a source that claims another size than the one promised is left while another is there', async () => {
  const [wrong, right] = [saying(11), saying(10)];
  const blob = new SourcedBlob({ repositoryId, digest, sources: [wrong.source, right.source], promisedSize: 10 });
  expect(await blob.open(0, undefined, waiting)).toMatchObject({ size: 10 });
  expect(right.asked).toHaveLength(1);
  blob.failedVerification();
  expect([wrong, right].map(({ failures }) => failures())).toEqual([0, 1]);
});

test('a source that claims another size than the one before is left while another is there', async () => {
  const [first, second, last] = [saying(10), saying(11), saying(10)];
  const blob = blobAt(first, second, last);
  blob.skipSource(await blob.open(0, undefined, waiting));
  expect(await blob.open(5, undefined, waiting)).toMatchObject({ size: 10 });
  expect(last.asked).toHaveLength(1);
});

test('a source that claims no size is not left for that', async () => {
  const [first, last] = [saying(undefined), saying(10)];
  const blob = new SourcedBlob({ repositoryId, digest, sources: [first.source, last.source], promisedSize: 10 });
  await blob.open(0, undefined, waiting);
  expect(last.asked).toEqual([]);
});

test('the size that the last source claims is for the download to judge', async () => {
  const last = saying(11);
  const blob = new SourcedBlob({ repositoryId, digest, sources: [last.source], promisedSize: 10 });
  expect(await blob.open(0, undefined, waiting)).toMatchObject({ size: 11 });
});

test('a source that has the blob elsewhere is asked again after its answer broke off', async () => {
  const [first, last] = [again(holding()), holding()];
  const blob = blobAt(first, last);
  expect(blob.skipSource(await blob.open(0, undefined, waiting))).toBe(true);
  await blob.open(5, undefined, waiting);
  expect(first.asked).toHaveLength(2);
  expect(last.asked).toEqual([]);
});

test('a source that always has the blob elsewhere is left in the end', async () => {
  const [first, last] = [again(saying(11)), holding()];
  const blob = new SourcedBlob({ repositoryId, digest, sources: [first.source, last.source], promisedSize: 10 });
  await blob.open(0, undefined, waiting);
  expect(first.asked).toHaveLength(33);
  expect(last.asked).toHaveLength(1);
});

test('bytes are counted for where they came from', async () => {
  const counted: unknown[] = [];
  const onBytes = (...event: unknown[]) => counted.push(event);
  const sibling = sourceOf(() => ({ ...opened(), origin: 'sibling' as const }));
  const blob = new SourcedBlob({ repositoryId, digest, sources: [sibling.source, holding().source], onBytes });
  const one = await blob.open(0, undefined, waiting);
  blob.received(one, 7);
  blob.skipSource(one);
  blob.received(await blob.open(5, undefined, waiting), 3);
  expect(counted).toEqual([
    ['sibling', 7],
    ['upstream', 3],
  ]);
});
