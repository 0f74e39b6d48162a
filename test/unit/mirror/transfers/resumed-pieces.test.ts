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
  for await (const piece of pieces) received.push(Uint8Array.from(piece));
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
