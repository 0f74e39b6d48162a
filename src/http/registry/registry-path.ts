import { type Digest, parseDigest } from '../../oci/digest.ts';
import { OciError } from '../../oci/errors.ts';
import { hostInPath, type HostName, isTag, type Reference } from '../../oci/reference.ts';

/** The resource that a request below `/v2/` names. Its name may still begin with an upstream's. */
export type RegistryResource =
  | { readonly kind: 'ping' | 'catalog' }
  | { readonly kind: 'manifest'; readonly name: string; readonly reference: Reference }
  | { readonly kind: 'blob' | 'referrers'; readonly name: string; readonly digest: Digest }
  | { readonly kind: 'tags'; readonly name: string };

export interface RegistryPath {
  readonly resource: RegistryResource;
  /** The registry named before `/v2/`. */
  readonly pathPrefix: HostName | undefined;
  readonly query: URLSearchParams | undefined;
}

/** No valid path is longer: a name has at most 255 characters, a sha512 digest 135. */
const maxTargetLength = 4096;

/**
 * Parses a request target in origin form. The only parser of client input: nothing is decoded but `%3A` (some
 * clients encode the colon of a digest), so an encoded slash, dot or NUL never becomes one.
 * @throws OciError NAME_INVALID or DIGEST_INVALID (400); MANIFEST_UNKNOWN (404) for what can't be a tag, NAME_UNKNOWN for a path
 * that is no resource.
 */
export function parseRegistryPath(target: string): RegistryPath {
  // VSV00018: an absolute-form target must not change where a request leads.
  if (!target.startsWith('/')) throw new OciError('NAME_INVALID', 'the request target must be a path');
  if (target.length > maxTargetLength) throw new OciError('NAME_INVALID', 'the request target is too long');
  const question = target.indexOf('?');
  const path = withColons(question === -1 ? target : target.slice(0, question));
  const query = question === -1 ? undefined : new URLSearchParams(target.slice(question + 1));
  const { pathPrefix, below } = splitAtVersion(path);
  return { resource: parseResource(below), pathPrefix, query };
}

function withColons(path: string): string {
  if (!path.includes('%')) return path;
  const decoded = path.replaceAll(/%3a/gi, ':');
  if (decoded.includes('%'))
    throw new OciError('NAME_INVALID', 'the path contains a percent-encoded character other than %3A');
  return decoded;
}

function splitAtVersion(path: string): { readonly pathPrefix: HostName | undefined; readonly below: string } {
  if (path === '/v2') return { pathPrefix: undefined, below: '' };
  if (path.startsWith('/v2/')) return { pathPrefix: undefined, below: path.slice(4) };
  const [, prefix = '', below] = /^\/([^/]+)\/v2(?:\/(.*))?$/s.exec(path) ?? [];
  const pathPrefix = hostInPath(prefix);
  if (pathPrefix === undefined) throw new OciError('NAME_UNKNOWN', 'unknown path: not part of the distribution API');
  return { pathPrefix, below: below ?? '' };
}

function parseResource(below: string): RegistryResource {
  if (below === '') return { kind: 'ping' };
  if (below === '_catalog') return { kind: 'catalog' };
  const listOf = nameBefore(below, '/tags/list');
  if (listOf !== undefined) return { kind: 'tags', name: listOf };
  // The last match counts: a repository may have a component called `blobs`.
  const [, name, word, rest] = /^(.+)\/(manifests|blobs|referrers)\/([^/]*)$/s.exec(below) ?? [];
  if (name === undefined || rest === undefined)
    throw new OciError('NAME_UNKNOWN', 'unknown path: not part of the distribution API');
  if (word === 'manifests') return { kind: 'manifest', name, reference: parseReference(rest) };
  return { kind: word === 'blobs' ? 'blob' : 'referrers', name, digest: parseDigest(rest) };
}

/** No repository has a tag outside the grammar, so it is 404, as the conformance suite of distribution-spec v1.1.1 demands. */
function parseReference(text: string): Reference {
  if (text.includes(':')) return parseDigest(text);
  if (!isTag(text)) throw new OciError('MANIFEST_UNKNOWN', 'the tag is not one the distribution spec allows');
  return text;
}

function nameBefore(below: string, ending: string): string | undefined {
  return below.endsWith(ending) ? below.slice(0, -ending.length) : undefined;
}
