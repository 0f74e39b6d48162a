import Router from '@koa/router';
import type { Mirror } from '../../mirror/mirror.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import { OciError } from '../../oci/errors.ts';
import { type HostName, parseHostName } from '../../oci/reference.ts';
import { answerBlob, answerBlobHead } from './blobs.ts';
import { commonHeaders } from '../response/content-response.ts';
import type { Senders } from '../response/memory-bodies.ts';
import type { ExchangeState, RegistryContext } from './exchange.ts';
import { answerCatalog, answerReferrers, answerTagList } from './listings.ts';
import { answerManifest } from './manifests.ts';
import type { ReadBuffers } from '../response/body-pump.ts';
import { parseRegistryPath, type RegistryPath } from './registry-path.ts';

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
 *
 * Paths below `/v2/` are parsed in registry-path.ts.
 */
export function registryRoutes(deps: RoutesDeps): Router<ExchangeState> {
  const router = new Router<ExchangeState>();
  router.all(/^\/(?:[^/]+\/)?v2(?:\/.*)?$/, (ctx) => answerResource(ctx, deps));
  return router;
}

async function answerResource(ctx: RegistryContext, deps: RoutesDeps): Promise<void> {
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
      return answerPlace(ctx, deps, path, resource);
  }
}

async function answerPlace(
  ctx: RegistryContext,
  deps: RoutesDeps,
  path: RegistryPath,
  resource: Exclude<RegistryPath['resource'], { kind: 'ping' | 'catalog' }>,
): Promise<void> {
  const { exchange } = ctx.state;
  const namespace = namespaceOf(path);
  const place = deps.mirror.locate({
    namespace,
    host: parseHostName(ctx.req.headers.host ?? ''),
    pathPrefix: path.pathPrefix,
    name: resource.name,
  });
  exchange.upstream = place.upstream.label;
  exchange.repository = place.repositoryId.repository;
  if (namespace !== undefined) ctx.set('OCI-Namespace', namespace);
  switch (resource.kind) {
    case 'manifest':
      exchange.reference = resource.reference;
      return answerManifest(ctx, deps, place, resource.reference);
    case 'blob':
      exchange.reference = resource.digest;
      return ctx.method === 'HEAD'
        ? answerBlobHead(ctx, deps, place, resource.digest)
        : answerBlob(ctx, deps, place, resource.digest);
    case 'tags':
      return answerTagList(ctx, deps, place, resource.name);
    case 'referrers':
      exchange.reference = resource.digest;
      return answerReferrers(ctx, deps, place, resource.digest);
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
