import type { NamedRepository } from '../../mirror/held-content.ts';
import { type Digest, isDigest } from '../../oci/digest.ts';
import { parseRange, type SatisfiableRange } from '../../oci/range.ts';
import { isRepository, isTag, parseHostName, type Tag } from '../../oci/reference.ts';

/** What a request of a sibling names. */
export type SiblingResource =
  | { readonly kind: 'ping' }
  | { readonly kind: 'blob' | 'manifest'; readonly named: NamedRepository; readonly digest: Digest }
  | { readonly kind: 'tag'; readonly named: NamedRepository; readonly tag: Tag }
  | { readonly kind: 'visibility'; readonly named: NamedRepository };

/** The last two parts say what is meant, so that a repository may have a component called `tags`. */
const grammar = /^\/v1\/([^/]+)\/(.+)\/(blobs|manifests|tags|visibility)\/([^/]+)$/;

/**
 * Parses a request target. Every path that exists on the siblings' listener:
 *
 *     /v1/                                                      the id of this replica: whether the secret is accepted
 *     /v1/<upstream>/<repository>/blobs/<digest>
 *     /v1/<upstream>/<repository>/manifests/<digest>
 *     /v1/<upstream>/<repository>/tags/<tag>
 *     /v1/<upstream>/<repository>/visibility/verdict
 *
 * @returns undefined for any other.
 */
export function parseSiblingPath(target: string): SiblingResource | undefined {
  if (target === '/v1/') return { kind: 'ping' };
  const [, host = '', repository = '', word, last] = grammar.exec(target) ?? [];
  const upstream = parseHostName(host);
  if (upstream === undefined || !isRepository(repository) || last === undefined) return undefined;
  const named = { upstream, repository };
  if (word === 'tags') return isTag(last) ? { kind: 'tag', named, tag: last } : undefined;
  if (word === 'visibility') return last === 'verdict' ? { kind: 'visibility', named } : undefined;
  return isDigest(last) ? { kind: word === 'blobs' ? 'blob' : 'manifest', named, digest: last } : undefined;
}

/**
 * The part of a blob that a Range header asks for; undefined: the whole. Several ranges, and ranges of a blob whose size is not known yet,
 * are answered with the whole (RFC 9110 §14.2). Pure.
 */
export function partAskedFor(
  range: string | undefined,
  size: number | undefined,
): SatisfiableRange | 'unsatisfiable' | undefined {
  const wanted = size === undefined ? 'whole' : parseRange(range, size);
  if (wanted === 'unsatisfiable') return wanted;
  return wanted === 'whole' || 'ranges' in wanted ? undefined : wanted;
}

/** The first byte that a Range header asks for, of a blob whose size is not known yet. Pure. */
export function firstByteAskedFor(range: string | undefined): number {
  return Number(/^bytes=(\d{1,15})-/.exec(range ?? '')?.[1] ?? 0);
}

/** `Prefer: wait=0` (RFC 7240 §4.3): only what can be read at once is wanted. */
export function wantsAnswerAtOnce(prefer: string | string[] | undefined): boolean {
  return prefer === 'wait=0';
}
