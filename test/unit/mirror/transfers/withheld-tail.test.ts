import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { withheldBytes } from '../../../../src/mirror/transfers/withheld-tail.ts';
import type { ByteSource } from '../../../../src/mirror/ports/byte-source.ts';
import { piecesOf, verifiedSource } from '../../../../src/mirror/transfers/withheld-tail.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { randomBytes } from '../../../support/images.ts';

/** Bytes in pieces, and whether their reader has closed them. */
function inPieces(bytes: Buffer, pieceBytes: number) {
  const told = { isReleased: false };
  async function* pieces(): AsyncGenerator<Uint8Array, void> {
    try {
      for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
    } finally {
      told.isReleased = true;
    }
  }
  return { pieces: pieces(), told };
}

/** All a reader gets, to the end or to a failure. */
async function readAll(
  source: ByteSource,
  bufferBytes = 10_007,
): Promise<{ readonly bytes: Buffer; readonly failure: unknown }> {
  const got: Buffer[] = [];
  let position = 0;
  try {
    for (;;) {
      const into = Buffer.alloc(bufferBytes);
      const count = await source.read(into, position);
      if (count === 0) return { bytes: Buffer.concat(got), failure: undefined };
      got.push(into.subarray(0, count));
      position += count;
    }
  } catch (failure) {
    return { bytes: Buffer.concat(got), failure };
  }
}

const bytes = randomBytes(300_000, 'content');

describe('a verified stream', () => {
  test('comes out as it went in, whatever the sizes of pieces and buffers', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(200_000),
        fc.integer({ min: 1, max: 100_000 }),
        fc.integer({ min: 500, max: 100_000 }),
        async (size, piece, buffer) => {
          const content = bytes.subarray(0, size);
          const source = verifiedSource({
            digest: digestOf(content),
            pieces: inPieces(content, Math.max(piece, 100)).pieces,
          });
          const { bytes: got, failure } = await readAll(source, buffer);
          expect(failure).toBeUndefined();
          expect(got.equals(content)).toBe(true);
        },
      ),
      { numRuns: 50 },
    );
  });

  test.each([
    { what: 'wrong', content: Buffer.concat([bytes.subarray(0, -1), Buffer.from('x')]) },
    { what: 'too short', content: bytes.subarray(0, -1) },
    { what: 'too long', content: Buffer.concat([bytes, Buffer.from('x')]) },
  ])('fails at its end if it is $what, and that end never comes out', async ({ content }) => {
    const source = verifiedSource({ digest: digestOf(bytes), pieces: inPieces(content, 50_000).pieces });
    const { bytes: got, failure } = await readAll(source);
    expect(failure).toMatchObject({ name: 'UpstreamError', reason: 'misbehaving' });
    expect(got.length).toBeLessThanOrEqual(content.length - withheldBytes);
    expect(got.length).toBeGreaterThan(0);
  });

  test('yields nothing at all if it is small and wrong', async () => {
    const source = verifiedSource({
      digest: digestOf(Buffer.from('right')),
      pieces: inPieces(Buffer.from('wrong'), 2).pieces,
    });
    const { bytes: got, failure } = await readAll(source);
    expect({ bytes: got.length, isFailure: failure instanceof Error }).toEqual({ bytes: 0, isFailure: true });
  });

  test('can start in the middle, from a hash state and the bytes the reader still lacks', async () => {
    const hash = createHash('sha256').update(bytes.subarray(0, 200_000));
    const { pieces } = inPieces(bytes.subarray(200_000), 30_000);
    const held = bytes.subarray(150_000, 200_000);
    const { bytes: got } = await readAll(verifiedSource({ digest: digestOf(bytes), pieces, hash, held }));
    expect(got.equals(bytes.subarray(150_000))).toBe(true);
  });

  test('is verified by sha512 if its digest is one', async () => {
    const source = verifiedSource({ digest: digestOf(bytes, 'sha512'), pieces: inPieces(bytes, 50_000).pieces });
    expect((await readAll(source)).bytes.equals(bytes)).toBe(true);
  });
});

test('a reader that leaves early closes the source', async () => {
  const { pieces, told } = inPieces(bytes, 100_000);
  const source = verifiedSource({ digest: digestOf(bytes), pieces });
  await source.read(Buffer.alloc(10), 0);
  await source[Symbol.asyncDispose]();
  expect(told.isReleased).toBe(true);
});

test('a source is read from its beginning to its end in pieces of one size', async () => {
  const source: ByteSource = {
    read: async (into, position) => bytes.copy(into, 0, position),
    [Symbol.asyncDispose]: async () => {},
  };
  const pieces = await Array.fromAsync(piecesOf(source, 70_000));
  expect(pieces.map(({ length }) => length)).toEqual([70_000, 70_000, 70_000, 70_000, 20_000]);
  expect(Buffer.concat(pieces).equals(bytes)).toBe(true);
});
