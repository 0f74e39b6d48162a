import { createHash, type Hash } from 'node:crypto';
import { algorithmOf, type Digest } from '../../oci/digest.ts';
import type { ByteSource } from '../ports/byte-source.ts';
import type { Memory } from '../ports/memory.ts';
import type { OpenedBlob } from '../ports/upstream.ts';
import type { ResumeRules } from '../resumed-pieces.ts';
import type { OpenPart } from './relay-upstream.ts';

export interface RelayRules extends ResumeRules {
  /** What the window holds counts against it. */
  readonly memory: Memory;
  /** An upstream that waits so long for the readers is let go, and asked again for what follows. */
  readonly letGoAfterMs: number;
}

export interface RelayOptions extends RelayRules {
  readonly digest: Digest;
  /** Of the whole blob, where it is known. */
  readonly size: number | undefined;
  /** Position of the first byte. */
  readonly from: number;
  /** Position behind the last byte; absent: to the end of the blob. */
  readonly until?: number | undefined;
  /** An answer of the upstream that is open already. The relay owns it. */
  readonly first?: OpenedBlob | undefined;
  readonly open: OpenPart;
  /** Called when other bytes come than the digest names, or another number of them. */
  readonly onWrong?: (() => void) | undefined;
  /** Whether all bytes are verified before the last of them are read; absent for a part, which nobody can verify here. */
  readonly verify?: VerifyFrom;
}

/** How the bytes before the first are verified together with those that follow. */
export interface VerifyFrom {
  /** Was fed with all bytes before the first. */
  readonly hash: Hash;
  /** Reads bytes before the first, for readers that begin there. */
  readonly before?: ByteSource['read'];
}

/** For a blob from its first byte. */
export function verifyWhole(digest: Digest): VerifyFrom {
  return { hash: createHash(algorithmOf(digest)) };
}
