import { createHash, type Hash } from 'node:crypto';
import { OciError } from './errors.ts';

declare const checked: unique symbol;
/** `sha256:<64 hex>` or `sha512:<128 hex>`, checked. Made only by {@link parseDigest} and {@link digestOf}. */
export type Digest = string & { readonly [checked]: 'Digest' };

export type DigestAlgorithm = 'sha256' | 'sha512';

/** OCI image-spec, "Digests": the registered algorithms, and the exact length of each. */
const grammar = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

/** @throws OciError DIGEST_INVALID when `text` is not a digest this mirror can verify. */
export function parseDigest(text: string): Digest {
  if (!isDigest(text)) throw new OciError('DIGEST_INVALID', 'not a sha256 or sha512 digest');
  return text;
}

export function isDigest(text: unknown): text is Digest {
  return typeof text === 'string' && grammar.test(text);
}

export function algorithmOf(digest: Digest): DigestAlgorithm {
  return digest.startsWith('sha512:') ? 'sha512' : 'sha256';
}

/** The hexadecimal part: safe as a file name, since its grammar was checked. */
export function hexOf(digest: Digest): string {
  return digest.slice(7);
}

/** The digest of `bytes`. */
export function digestOf(bytes: Uint8Array, algorithm: DigestAlgorithm = 'sha256'): Digest {
  return digestFrom(createHash(algorithm).update(bytes), algorithm);
}

/** Whether it is the digest of no bytes at all. */
export function isOfNothing(digest: Digest): boolean {
  return digest === digestOf(new Uint8Array(), algorithmOf(digest));
}

/** The digest of everything `hash` was fed. */
export function digestFrom(hash: Hash, algorithm: DigestAlgorithm): Digest {
  return parseDigest(`${algorithm}:${hash.digest('hex')}`);
}
