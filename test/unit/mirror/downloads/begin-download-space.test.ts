import { expect, test } from 'vitest';
import { Room, roomStep } from '../../../../src/mirror/downloads/begin-download.ts';
import type { Reservation } from '../../../../src/mirror/eviction/space.ts';
import { NoRoom } from '../../../../src/mirror/transfers/transfer-errors.ts';

const mebibyte = 1024 * 1024;

/** A store that may take so many bytes. */
function spaceOf(maxBytes: number) {
  let promised = 0;
  const asked: number[] = [];
  const reserve = async (bytes: number): Promise<Reservation | undefined> => {
    asked.push(bytes);
    if (promised + bytes > maxBytes) return undefined;
    promised += bytes;
    let left = bytes;
    const wrote = (written: number) => {
      const counted = Math.min(written, left);
      left -= counted;
      return counted;
    };
    return {
      bytes,
      get leftBytes() {
        return left;
      },
      wrote,
      release: () => void (promised -= left),
    };
  };
  return { reserve, asked, promised: () => promised };
}

test.each([
  { what: 'the first step', neededBytes: 1, arrivedBytes: 0, claimedBytes: 60 * mebibyte, step: mebibyte },
  { what: 'of a small blob', neededBytes: 1, arrivedBytes: 0, claimedBytes: 10, step: 10 },
  {
    what: 'as much as has arrived',
    neededBytes: 1,
    arrivedBytes: 5 * mebibyte,
    claimedBytes: undefined,
    step: 5 * mebibyte,
  },
  {
    what: 'no more than the maximum step',
    neededBytes: 1,
    arrivedBytes: 500 * mebibyte,
    claimedBytes: undefined,
    step: 16 * mebibyte,
  },
  {
    what: 'no more than is missing',
    neededBytes: 1,
    arrivedBytes: 8 * mebibyte,
    claimedBytes: 9 * mebibyte,
    step: mebibyte,
  },
  {
    what: 'at least the next write',
    neededBytes: 2 * mebibyte,
    arrivedBytes: 0,
    claimedBytes: 1,
    step: 2 * mebibyte,
  },
])('space is reserved in steps: $what', ({ step, ...standing }) => {
  expect(roomStep({ reservedBytes: standing.arrivedBytes, ...standing })).toBe(step);
});

test('space is reserved for bytes that arrive, and not for a claimed size', async () => {
  const space = spaceOf(100 * mebibyte);
  const room = new Room({ space, claimedBytes: 60 * mebibyte });
  await room.makeFor(1);
  expect(space.promised()).toBe(mebibyte);
  for (let written = 0; written < 4 * mebibyte; written += mebibyte / 2) {
    await room.makeFor(mebibyte / 2);
    room.wrote(mebibyte / 2);
  }
  expect(space.asked).toEqual([mebibyte, mebibyte, 2 * mebibyte]);
  room[Symbol.dispose]();
});

test('never more than the claimed size is reserved, however its bytes arrive', async () => {
  const space = spaceOf(100 * mebibyte);
  const claimedBytes = 1.5 * mebibyte;
  const room = new Room({ space, claimedBytes });
  for (const bytes of [0.5 * mebibyte, mebibyte]) {
    await room.makeFor(bytes);
    room.wrote(bytes);
  }
  expect(space.promised()).toBe(claimedBytes);
});

test('when no further step fits, the exact need is reserved; otherwise there is no space', async () => {
  const space = spaceOf(1.5 * mebibyte);
  const room = new Room({ space, claimedBytes: undefined });
  await room.makeFor(mebibyte);
  room.wrote(mebibyte);
  await room.makeFor(mebibyte / 2);
  room.wrote(mebibyte / 2);
  await expect(room.makeFor(1)).rejects.toThrow(NoRoom);
});

test('reserved space that was not written is released', async () => {
  const space = spaceOf(10 * mebibyte);
  const room = new Room({ space, claimedBytes: undefined });
  await room.makeFor(10);
  room.wrote(10);
  room[Symbol.dispose]();
  expect(space.promised()).toBe(10);
});
