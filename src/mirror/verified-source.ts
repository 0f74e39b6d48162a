import { createHash } from 'node:crypto';
import { algorithmOf, type Digest, digestFrom } from '../oci/digest.ts';
import { DigestMismatch, heldBackBytes } from './download.ts';
import type { ByteSource } from './ports.ts';

/** Pieces of a blob in order, ending after the last. Returning from it early releases what is behind it. */
export type Pieces = AsyncIterator<Uint8Array, unknown>;

/**
 * A source for one reader that is verified as it passes, for bytes that are in no file of ours: the blob's end is held back until the
 * digest is right, so the reader never holds a complete wrong blob. Positions must follow each other.
 */
export function verifiedSource(digest: Digest, pieces: Pieces): ByteSource {
  const hash = createHash(algorithmOf(digest));
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  let isVerified = false;

  const takeNext = async () => {
    const { done, value } = await pieces.next();
    if (done === true) {
      const actual = digestFrom(hash, algorithmOf(digest));
      if (actual !== digest) throw new DigestMismatch(digest, actual);
      isVerified = true;
      return;
    }
    hash.update(value);
    held.push(value);
    heldBytes += value.byteLength;
  };

  return {
    read: async (into) => {
      while (!isVerified && heldBytes <= heldBackBytes) await takeNext();
      const wanted = Math.min(into.byteLength, isVerified ? heldBytes : heldBytes - heldBackBytes);
      const { rest, copied } = moveBytes(held, into, wanted);
      held = rest;
      heldBytes -= copied;
      return copied;
    },
    [Symbol.asyncDispose]: async () => {
      held = [];
      await pieces.return?.();
    },
  };
}

/** A source for one reader over pieces that nobody can verify here: a range of a blob, which the client checks with the whole. */
export function unverifiedSource(pieces: Pieces): ByteSource {
  let held: Uint8Array[] = [];
  return {
    read: async (into) => {
      if (held.length === 0) {
        const { done, value } = await pieces.next();
        if (done === true) return 0;
        held = [value];
      }
      const { rest, copied } = moveBytes(held, into, into.byteLength);
      held = rest;
      return copied;
    },
    [Symbol.asyncDispose]: async () => {
      await pieces.return?.();
    },
  };
}

/** Copies up to `wanted` bytes from the front of `pieces`. @returns what is left of them. */
function moveBytes(
  pieces: readonly Uint8Array[],
  into: Uint8Array,
  wanted: number,
): { readonly rest: Uint8Array[]; readonly copied: number } {
  const rest = [...pieces];
  let copied = 0;
  for (let piece = rest[0]; piece && copied < wanted; piece = rest[0]) {
    const part = piece.subarray(0, wanted - copied);
    into.set(part, copied);
    copied += part.byteLength;
    if (part.byteLength === piece.byteLength) rest.shift();
    else rest[0] = piece.subarray(part.byteLength);
  }
  return { rest, copied };
}

/** Reads a stored blob from its beginning, piece by piece. The caller keeps owning `source`. */
export async function* piecesOf(source: ByteSource, pieceBytes: number): AsyncGenerator<Uint8Array, void> {
  let position = 0;
  for (;;) {
    const piece = Buffer.allocUnsafe(pieceBytes);
    const bytes = await source.read(piece, position);
    if (bytes === 0) return;
    position += bytes;
    yield piece.subarray(0, bytes);
  }
}
