import { createHash, type Hash } from 'node:crypto';
import { algorithmOf, type Digest, digestFrom } from '../../oci/digest.ts';
import { DigestMismatch } from '../../oci/errors.ts';
import type { ByteSource } from '../ports/byte-source.ts';

/** How much of a blob's tail is withheld from readers until the whole is verified: no client ever holds a complete wrong blob. */
export const withheldBytes = 64 * 1024;

/** Pieces of a blob in order, ending after the last. Returning from it early releases what is behind it. */
export type Pieces = AsyncIterator<Uint8Array, unknown>;

export interface VerifiedSourceOptions {
  readonly digest: Digest;
  readonly pieces: Pieces;
  /** The hash of everything before the first piece. Absent: it is the first of the blob. */
  readonly hash?: Hash;
  /** Bytes before the first piece that are hashed and not yet read. */
  readonly held?: Uint8Array;
}

/**
 * A source for one reader that is verified while it is read, for bytes that are not in the store: the tail is withheld until the digest is
 * verified, so that the reader never gets a complete wrong blob. It must be read in order.
 */
export function verifiedSource({ digest, pieces, hash: fed, held: first }: VerifiedSourceOptions): ByteSource {
  const hash = fed ?? createHash(algorithmOf(digest));
  const held = new HeldPieces();
  if (first) held.push(first);
  let isVerified = false;

  const takeNext = async () => {
    const { done, value } = await pieces.next();
    if (done === true) {
      const actual = digestFrom(hash, algorithmOf(digest));
      if (actual !== digest) throw new DigestMismatch(digest, actual);
      isVerified = true;
    } else {
      hash.update(value);
      held.push(value);
    }
  };

  return {
    read: async (into) => {
      while (!isVerified && held.bytes <= withheldBytes) await takeNext();
      return held.moveTo(into, isVerified ? held.bytes : held.bytes - withheldBytes);
    },
    [Symbol.asyncDispose]: async () => {
      await pieces.return?.();
    },
  };
}

/** A queue of pieces, read from its front. */
class HeldPieces {
  bytes = 0;
  readonly #pieces: Uint8Array[] = [];

  push(piece: Uint8Array): void {
    this.#pieces.push(piece);
    this.bytes += piece.byteLength;
  }

  /** Moves up to `most` bytes into `into`. @returns how many. */
  moveTo(into: Uint8Array, most: number): number {
    const wanted = Math.min(into.byteLength, most);
    let moved = 0;
    for (let piece = this.#pieces[0]; piece && moved < wanted; piece = this.#pieces[0]) {
      const part = piece.subarray(0, wanted - moved);
      into.set(part, moved);
      moved += part.byteLength;
      if (part.byteLength === piece.byteLength) this.#pieces.shift();
      else this.#pieces[0] = piece.subarray(part.byteLength);
    }
    this.bytes -= moved;
    return moved;
  }
}

/** Reads a source from its beginning, piece by piece. The caller keeps owning `source`. */
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
