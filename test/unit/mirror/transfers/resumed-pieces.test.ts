import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import type { OpenedBlob } from '../../../../src/mirror/ports/upstream.ts';
import { resumedPieces } from '../../../../src/mirror/transfers/resumed-pieces.ts';
import { UpstreamError } from '../../../../src/oci/errors.ts';
import { randomBytes } from '../../../support/images.ts';
import { body } from '../../../support/start-download.ts';

const blob = randomBytes(1_000, 'blob');
const broken = new UpstreamError('connect', 'the connection was lost');
const allTaken = new UpstreamError('busy', 'too many requests wait for a connection');

/** Reads a blob whose first answer breaks, and whose next ones find all connections taken so many times. */
async function read(timesTaken: number) {
  const pauses: number[] = [];
  let taken = 0;
  const first: OpenedBlob = { offset: 0, size: blob.length, body: body(blob.subarray(0, 400), broken) };
  const pieces = resumedPieces({
    from: 0,
    first,
    size: blob.length,
    signal: new AbortController().signal,
    attemptsWithoutProgress: 3,
    wait: async (ms) => pauses.push(ms),
    blob: {
      open: async (offset) => {
        taken += 1;
        if (taken <= timesTaken) throw allTaken;
        return { offset, size: blob.length, body: body(blob.subarray(offset)) };
      },
      received: () => {},
      skipSource: () => false,
    },
  });
  const received: Uint8Array[] = [];
  for await (const some of pieces) for (const piece of some) received.push(Uint8Array.from(piece));
  return { received: Buffer.concat(received), pauses };
}

test('a blob whose transfer breaks while others hold all connections is resumed when one is free', async () => {
  const { received, pauses } = await read(2);
  expect(received.equals(blob)).toBe(true);
  expect(pauses.map((ms) => ms >= 1_000)).toEqual([false, true, true]);
});

test('the transfer is given up when none is free for all attempts', async () => {
  await expect(read(3)).rejects.toThrow(allTaken);
});

/** The lengths of the pieces, list by list, and what the transfer failed with. All pieces of the answer are there, 100 bytes each. */
async function listsOf(
  { offset = 0, from = 0, ...bounds }: { offset?: number; from?: number; size?: number; until?: number },
  togetherBytes?: number,
) {
  const answer = new Readable({ read: () => {} });
  for (let start = offset; start < blob.length; start += 100) answer.push(blob.subarray(start, start + 100));
  answer.push(null);
  let counted = 0;
  const lists: number[][] = [];
  const received: Uint8Array[] = [];
  const reading = async () => {
    const options = {
      from,
      size: undefined,
      ...bounds,
      first: { offset, size: undefined, body: answer },
      signal: new AbortController().signal,
      attemptsWithoutProgress: 0,
      wait: async () => {},
      blob: {
        open: () => Promise.reject(broken),
        received: (_: OpenedBlob, bytes: number) => void (counted += bytes),
        skipSource: () => false,
      },
    };
    const together = togetherBytes === undefined ? {} : { togetherBytes: () => togetherBytes };
    for await (const pieces of resumedPieces({ ...options, ...together })) {
      lists.push(pieces.map((piece) => piece.byteLength));
      received.push(...pieces);
    }
  };
  const failure = await reading().then(
    () => undefined,
    (cause: unknown) => cause,
  );
  const isRight = Buffer.concat(received).equals(blob.subarray(from, from + lists.flat().reduce((a, b) => a + b, 0)));
  return { lists, isRight, counted, failure, isClosed: answer.destroyed };
}

test('pieces that are there come one by one, or together up to the wanted bytes', async () => {
  const oneByOne = await listsOf({ size: 1_000 });
  expect(oneByOne).toMatchObject({ isRight: true, counted: 1_000, isClosed: true, failure: undefined });
  expect(oneByOne.lists).toEqual(Array.from({ length: 10 }, () => [100]));

  const together = await listsOf({ size: 1_000 }, 350);
  expect(together).toMatchObject({ isRight: true, counted: 1_000, isClosed: true, failure: undefined });
  expect(together.lists).toEqual([
    [100, 100, 100, 100],
    [100, 100, 100, 100],
    [100, 100],
  ]);
});

test('of pieces that come together, those before the wanted position and behind the wanted end are left out', async () => {
  expect(await listsOf({ from: 250, until: 670, size: 1_000 }, 500)).toMatchObject({
    lists: [
      [50, 100, 100],
      [100, 70],
    ],
    isRight: true,
    isClosed: true,
    failure: undefined,
  });
});

test('a piece that exceeds the promised size fails the transfer, after those before it', async () => {
  const { lists, isRight, failure } = await listsOf({ size: 450 }, 1_000);
  expect(lists).toEqual([[100, 100, 100, 100]]);
  expect(isRight).toBe(true);
  expect(failure).toMatchObject({ reason: 'misbehaving' });
});
