import { expect, test, vi } from 'vitest';
import { StoreWatch } from '../../../../src/mirror/concurrency/abortable-wait.ts';
import { openSources } from '../../../../src/mirror/downloads/begin-download.ts';
import { Run } from '../../../../src/mirror/downloads/run.ts';
import type { Ticket } from '../../../../src/mirror/downloads/scheduler.ts';
import type { OpenedBlob } from '../../../../src/mirror/ports/upstream.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { OciError, UpstreamError } from '../../../../src/oci/errors.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { MemoryIncoming } from '../../../support/memory-incoming.ts';
import { body } from '../../../support/start-download.ts';

const digest = digestOf(Buffer.from('layer'));
const size = 1000;

function opened(offset: number, told: number | undefined = size): OpenedBlob {
  return { body: body(), offset, size: told };
}

async function open(
  answer: (position: number) => OpenedBlob,
  {
    leftBytes = 300,
    promisedSize = size,
    waitsForPlace = false,
    hasNext = false,
    waits = true,
    takes = Promise.resolve(),
    leaves = Promise.resolve(),
  } = {},
) {
  const asked: number[] = [];
  const incoming = new MemoryIncoming({ beforeLeave: () => leaves });
  const left = leftBytes > 0 ? { incoming, checkpoint: { bytes: leftBytes, digest } } : undefined;
  const blob = {
    open: async (position: number) => {
      asked.push(position);
      return answer(position);
    },
    received: () => {},
    skipSource: () => hasNext,
    failedVerification: () => {},
  };
  const repositoryId = { upstream: 'docker.io', repository: parseRepository('library/app') };
  const run = new Run({ repositoryId, digest, blob, label: 'docker.io', maxConnections: 4, promisedSize });
  const total = Promise.withResolvers<void>();
  if (!waitsForPlace) total.resolve();
  const ticket: Ticket = {
    admitted: Promise.resolve(),
    answered: () => total.promise,
    received: () => {},
    [Symbol.dispose]: () => {},
  };
  const opening = openSources(run, ticket, {
    store: { takePartial: () => takes.then(() => left) },
    space: { watch: new StoreWatch() },
    observer: { internalError: () => {} },
  });
  if (waits && !waitsForPlace) await opening.catch(() => {});
  return { opening, asked, incoming, left, run };
}

test('without a partial download the whole blob is requested', async () => {
  const { opening, asked } = await open(opened, { leftBytes: 0 });
  expect(await opening).toMatchObject({ opened: { offset: 0 }, size });
  expect(asked).toEqual([0]);
});

test.each([
  { answer: 'the rest', offsetOf: (position: number) => position },
  { answer: 'the whole', offsetOf: () => 0 },
])(
  'the missing bytes are requested, and the download is resumed when the upstream sends $answer',
  async ({ offsetOf }) => {
    const { opening, asked, incoming, left } = await open((position) => opened(offsetOf(position)));
    expect(await opening).toMatchObject({ size, partial: left });
    expect(asked).toEqual([299]);
    expect(incoming.isDisposed).toBe(false);
  },
);

test('with a complete partial download the last byte is requested: the upstream must still allow the blob', async () => {
  const { opening, asked, left } = await open(opened, { leftBytes: size });
  expect(await opening).toMatchObject({ partial: left });
  expect(asked).toEqual([999]);
});

const refusedAlways = (cause: Error) => (): OpenedBlob => {
  throw cause;
};
const refused = (cause: Error) => (position: number) => {
  if (position > 0) throw cause;
  return opened(0);
};

test.each([
  { what: 'refuses the part', answer: refused(new OciError('RANGE_INVALID', 'no')) },
  { what: 'sends another part', answer: refused(new UpstreamError('misbehaving', 'another part')) },
  { what: 'has a smaller blob', answer: (position: number) => opened(position, position > 0 ? 299 : size) },
])('when the upstream $what, the partial download is dropped and the whole blob requested', async ({ answer }) => {
  const { opening, asked, incoming } = await open(answer);
  expect(await opening).toMatchObject({ opened: { offset: 0 }, size });
  expect((await opening).partial).toBeUndefined();
  expect(asked).toEqual([299, 0]);
  expect(incoming).toMatchObject({ isLeft: false, isDisposed: true });
});

test('when a source has a smaller blob than the partial download, the next source is asked for the rest', async () => {
  let claimed = 299;
  const answer = (position: number) => {
    const answered = opened(position, claimed);
    claimed = size;
    return answered;
  };
  const { opening, asked, left } = await open(answer, { hasNext: true });
  expect(await opening).toMatchObject({ opened: { offset: 299 }, size, partial: left });
  expect(asked).toEqual([299, 299]);
});

test('a partial download larger than the descriptor says is dropped, if the upstream sends no size', async () => {
  const sizeless = (position: number): OpenedBlob => ({ body: body(), offset: position, size: undefined });
  const { opening, asked, incoming } = await open(sizeless, { promisedSize: 200 });
  expect(await opening).toMatchObject({ opened: { offset: 0 }, size: 200 });
  expect(asked).toEqual([299, 0]);
  expect(incoming.isLeft).toBe(false);
});

test.each([
  new UpstreamError('connect', 'refused'),
  new UpstreamError('busy', 'the mirror is stopping'),
  new OciError('BLOB_UNKNOWN', 'no such blob'),
])('when the upstream does not answer or lacks the blob ($name), the partial download stays', async (cause) => {
  const { opening, asked, incoming } = await open(() => {
    throw cause;
  });
  await expect(opening).rejects.toBe(cause);
  expect(asked).toEqual([299]);
  expect(incoming).toMatchObject({ isLeft: true, isDisposed: true });
});

test('a download that ends while it waits for a slot releases the partial download, and closes the answer', async () => {
  const answer = opened(299);
  const { opening, incoming, run } = await open(() => answer, { waitsForPlace: true });
  const reason = new UpstreamError('busy', 'the mirror is stopping');
  setImmediate(() => run.end(reason));
  await expect(opening).rejects.toBe(reason);
  expect(incoming).toMatchObject({ isLeft: true, isDisposed: true });
  expect(answer.body.destroyed).toBe(true);
});

test('a partial download that the disk does not open is not waited for, and is left again when it comes', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const takes = Promise.withResolvers<void>();
    const { opening, asked, incoming } = await open(opened, { takes: takes.promise, waits: false });
    await vi.advanceTimersByTimeAsync(5_000);
    expect(await opening).toMatchObject({ opened: { offset: 0 }, size });
    expect(asked).toEqual([0]);
    takes.resolve();
    await vi.advanceTimersByTimeAsync(0);
    expect(incoming).toMatchObject({ isLeft: true, isDisposed: true });
  } finally {
    vi.useRealTimers();
  }
});

test('an upstream that does not answer is told at once, or 5 s later if the disk does not take back the partial download', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const cause = new UpstreamError('connect', 'refused');
    const { opening, incoming } = await open(refusedAlways(cause), { leaves: new Promise(() => {}), waits: false });
    opening.catch(() => {});
    await vi.advanceTimersByTimeAsync(5_000);
    await expect(opening).rejects.toBe(cause);
    expect(incoming.isDisposed).toBe(false);
  } finally {
    vi.useRealTimers();
  }
});
