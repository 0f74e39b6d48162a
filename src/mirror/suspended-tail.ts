import type { Hash } from 'node:crypto';
import type { Digest } from '../oci/digest.ts';
import type { ByteSource, IncomingBlob, OpenedBlob, Waiting } from './ports.ts';
import { type ResumeRules, resumedPieces } from './resumed-pieces.ts';
import { unverifiedSource, verifiedSource } from './verified-source.ts';

/** A download whose disk takes no more. */
export interface Suspended extends ResumeRules {
  readonly digest: Digest;
  readonly size: number | undefined;
  readonly incoming: IncomingBlob;
  readonly writtenBytes: number;
  /** Of what is written. */
  readonly hash: Hash;
  readonly openAt: (position: number, waiting: Waiting) => Promise<OpenedBlob>;
}

/**
 * What follows the visible part for one reader of a suspended download, from an upstream answer of its own. A reader that stands exactly
 * there has its end verified as the writer would have; one that asked for a part beyond gets that part alone.
 */
export async function suspendedTail(suspended: Suspended, position: number, waiting: Waiting): Promise<ByteSource> {
  const { writtenBytes, openAt, digest, hash } = suspended;
  const common = { ...suspended, ...waiting, openAt: (at: number) => openAt(at, waiting) };
  if (position > writtenBytes) return unverifiedSource(resumedPieces({ ...common, from: position }));
  const held = await readFrom(suspended.incoming, position, writtenBytes);
  const pieces = resumedPieces({ ...common, from: writtenBytes });
  return verifiedSource({ digest, pieces, hash: hash.copy(), held });
}

/** The held-back end of what is written. */
async function readFrom(incoming: IncomingBlob, start: number, end: number): Promise<Buffer> {
  const held = Buffer.allocUnsafe(end - start);
  for (let filled = 0; filled < held.byteLength; ) {
    const bytes = await incoming.read(held.subarray(filled), start + filled);
    if (bytes === 0) throw new Error('the file of a suspended download is shorter than what was written');
    filled += bytes;
  }
  return held;
}
