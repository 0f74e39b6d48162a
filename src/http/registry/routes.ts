import type { Mirror } from '../../mirror/mirror.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import { repositoryKey } from '../../mirror/ports/repository-id.ts';
import { type Digest, parseDigest } from '../../oci/digest.ts';
import { OciError } from '../../oci/errors.ts';
import { hostInPath, type HostName, isTag, parseHostName, type Reference } from '../../oci/reference.ts';
import { answerBlob, answerBlobHead } from './blobs.ts';
import { commonHeaders } from '../response/content-response.ts';
import type { Senders } from '../response/memory-bodies.ts';
import type { RegistryContext, Step } from '../server/exchange.ts';
import { answerCatalog, answerReferrers, answerTagList } from './listings.ts';
import { answerManifest } from './manifests.ts';
import type { ReadBuffers } from '../response/body-pump.ts';

export interface RoutesDeps extends Senders {
  readonly mirror: Mirror;
  readonly clock: Clock;
  readonly buffers: ReadBuffers;
}

/**
 * Every path that exists on the registry's listener:
 *
 *     /v2/                                       ping
 *     /v2/_catalog                               what is cached
 *     /v2/<name>/manifests/<tag or digest>
 *     /v2/<name>/blobs/<digest>
 *     /v2/<name>/tags/list
 *     /v2/<name>/referrers/<digest>
 *     /<upstream>/v2/…                           the same, of that upstream
 */
export function registryRoutes(deps: RoutesDeps): Step {
  return (ctx, next) => (registryTarget.test(ctx.req.url ?? '') ? answerResource(ctx, deps) : next());
}

const registryTarget = /^\/(?:[^/?]+\/)?v2(?:[/?]|$)/;

/** A hit in memory is answered before this returns. */
function answerResource(ctx: RegistryContext, deps: RoutesDeps): Promise<void> | void {
  refuseWrites(ctx);
  const path = parseRegistryPath(ctx.req.url ?? '');
  const { resource } = path;
  ctx.state.exchange.kind = resource.kind;
  // Blobs and manifests set all headers at once, which is much cheaper.
  if (resource.kind !== 'manifest' && resource.kind !== 'blob') ctx.set(commonHeaders);
  switch (resource.kind) {
    case 'ping':
      ctx.body = {};
      return;
    case 'catalog':
      return answerCatalog(ctx, deps);
    case 'manifest':
    case 'blob':
    case 'tags':
    case 'referrers':
      return answerLocated(ctx, deps, path, resource);
  }
}

function answerLocated(
  ctx: RegistryContext,
  deps: RoutesDeps,
  path: RegistryPath,
  resource: Exclude<RegistryPath['resource'], { kind: 'ping' | 'catalog' }>,
): Promise<void> | void {
  const { exchange } = ctx.state;
  const namespace = namespaceOf(path);
  const located = deps.mirror.locate({
    namespace,
    host: parseHostName(ctx.req.headers.host ?? ''),
    pathPrefix: path.pathPrefix,
    name: resource.name,
  });
  exchange.upstream = located.upstream.label;
  exchange.repository = located.repositoryId.repository;
  exchange.repositoryName = repositoryKey(located.repositoryId);
  if (namespace !== undefined) ctx.set('OCI-Namespace', namespace);
  switch (resource.kind) {
    case 'manifest':
      exchange.reference = resource.reference;
      return answerManifest(ctx, deps, located, resource.reference);
    case 'blob':
      exchange.reference = resource.digest;
      return ctx.method === 'HEAD'
        ? answerBlobHead(ctx, deps, located, resource.digest)
        : answerBlob(ctx, deps, located, resource.digest);
    case 'tags':
      return answerTagList(ctx, deps, located, resource.name);
    case 'referrers':
      exchange.reference = resource.digest;
      return answerReferrers(ctx, deps, located, resource.digest);
  }
}

/** @throws OciError NAME_UNKNOWN (404) when `ns` is not a host name. */
function namespaceOf({ query }: RegistryPath): HostName | undefined {
  const text = query?.get('ns') ?? undefined;
  const namespace = text === undefined ? undefined : parseHostName(text);
  if (text !== undefined && namespace === undefined)
    throw new OciError('NAME_UNKNOWN', 'the namespace names no upstream of this mirror');
  return namespace;
}

/** @throws OciError UNSUPPORTED (405) for every method but GET and HEAD. */
function refuseWrites(ctx: RegistryContext): void {
  if (ctx.method === 'GET' || ctx.method === 'HEAD') return;
  ctx.set('Allow', 'GET, HEAD');
  throw new OciError('UNSUPPORTED', 'this mirror is read-only');
}

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
 * @throws OciError NAME_INVALID or DIGEST_INVALID (400); MANIFEST_UNKNOWN (404) for an invalid tag, NAME_UNKNOWN for an unknown path.
 */
export function parseRegistryPath(target: string): RegistryPath {
  // VSV00018: an absolute-form target must not change how a request is routed.
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
