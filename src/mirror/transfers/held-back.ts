import type { Digest } from '../../oci/digest.ts';
import { UpstreamError } from '../../oci/errors.ts';

/** How much of a blob's end no reader gets before the whole is verified: no client ever holds a complete wrong blob. */
export const heldBackBytes = 64 * 1024;

/** The upstream sent other bytes than the digest names. Says what was asked for and what came. */
export class DigestMismatch extends UpstreamError {
  constructor(expected: Digest, actual: Digest) {
    super('misbehaving', `the upstream sent ${actual} where ${expected} was asked for`);
  }
}
