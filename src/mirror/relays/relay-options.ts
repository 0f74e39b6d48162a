import { createHash, type Hash } from 'node:crypto';
import { algorithmOf, type Digest } from '../../oci/digest.ts';
import type { ByteSource } from '../ports/byte-source.ts';
import type { Memory } from '../ports/memory.ts';
import type { OpenedBlob } from '../ports/upstream.ts';
import type { RemoteBlob } from '../transfers/remote-blob.ts';
import type { ResumeRules } from '../transfers/resumed-pieces.ts';

export interface RelayRules extends ResumeRules {
  /** The window's bytes count against it. */
  readonly memory: Memory;
  /** When the readers keep the upstream waiting for this long, its answer is closed; the rest is asked for again by range. */
  readonly closeAfterMs: number;
}

export interface RelayOptions extends RelayRules {
  readonly digest: Digest;
  /** Size of the whole blob, if it is known. */
  readonly size: number | undefined;
  /** Position of the first byte. */
  readonly from: number;
  /** Position behind the last byte; absent: to the end of the blob. */
  readonly until?: number | undefined;
  /** An answer of the upstream that is open already; the relay owns it. */
  readonly first?: OpenedBlob | undefined;
  readonly blob: RemoteBlob;
  /** How the whole blob is verified before its tail can be read; absent for a part, which cannot be verified here. */
  readonly verify?: VerifyFrom;
}

/** How the relayed bytes are verified together with the bytes of the blob before them. */
export interface VerifyFrom {
  /** Has been updated with all bytes before the relayed ones. */
  readonly hash: Hash;
  /** Reads bytes before the relayed ones, for readers that begin there. */
  readonly before?: ByteSource['read'];
}

/** Verifies a blob that is relayed from its first byte. */
export function verifyWhole(digest: Digest): VerifyFrom {
  return { hash: createHash(algorithmOf(digest)) };
}
