import type { Mirror, Place } from '../mirror/mirror.ts';
import type { Digest } from '../oci/digest.ts';
import { OciError } from '../oci/errors.ts';
import { ociIndex } from '../oci/media-types.ts';
import type { CacheStatus } from '../mirror/ports/cache-status.ts';
import { cacheStatusHeader } from './cache-status.ts';
import type { RegistryContext } from './exchange.ts';

/** CVE-2023-2253: the page size a client names must never size an allocation. */
const maxPageSize = 10_000;
const defaultCatalogPage = 100;

/** `tags/list` with `n` and `last`; distribution-spec v1.1.1, "Listing Tags". */
export async function answerTagList(ctx: RegistryContext, mirror: Mirror, place: Place, name: string): Promise<void> {
  const page = pageOf(ctx, maxPageSize);
  const { listing, cache } = await mirror.tagList(place, page, ctx.state.exchange);
  tellOfCache(ctx, cache);
  const { tags, hasMore } = listing;
  if (hasMore) setNextLink(ctx, tags.at(-1), page.limit);
  ctx.body = { name, tags };
}

/** Referrers with `artifactType`; distribution-spec v1.1.1, "Listing Referrers". */
export async function answerReferrers(
  ctx: RegistryContext,
  mirror: Mirror,
  place: Place,
  digest: Digest,
): Promise<void> {
  const { listing, cache } = await mirror.referrers(place, digest, ctx.state.exchange);
  tellOfCache(ctx, cache);
  const artifactType = queryOf(ctx).get('artifactType');
  const manifests =
    artifactType === null ? listing : listing.filter((referrer) => referrer.artifactType === artifactType);
  if (artifactType !== null) ctx.set('OCI-Filters-Applied', 'artifactType');
  ctx.set('Content-Type', ociIndex);
  ctx.body = JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests });
}

/** `_catalog`: the repositories with cached content, as `<upstream>/<repository>`, which is also how to pull them. */
export async function answerCatalog(ctx: RegistryContext, mirror: Mirror): Promise<void> {
  const page = pageOf(ctx, defaultCatalogPage);
  // One more than asked for tells whether there is a next page; `n=0` has none.
  const limit = page.limit === 0 ? 0 : page.limit + 1;
  const found = await mirror.catalog({ last: page.last, limit }, ctx.state.exchange);
  const repositories = found.slice(0, page.limit);
  if (repositories.length < found.length) setNextLink(ctx, repositories.at(-1), page.limit);
  ctx.body = { repositories };
}

/** @throws OciError PAGINATION_NUMBER_INVALID */
function pageOf(
  ctx: RegistryContext,
  defaultLimit: number,
): { readonly limit: number; readonly last: string | undefined } {
  const query = queryOf(ctx);
  const n = query.get('n');
  if (n !== null && !/^\d{1,10}$/.test(n))
    throw new OciError('PAGINATION_NUMBER_INVALID', 'n must be a number of results');
  return { limit: n === null ? defaultLimit : Math.min(Number(n), maxPageSize), last: query.get('last') ?? undefined };
}

/** RFC 8288; relative to the request, so that it leads back to wherever the client found us. `n=0` has no next page. */
function setNextLink(ctx: RegistryContext, last: string | undefined, limit: number): void {
  if (last === undefined) return;
  const query = queryOf(ctx);
  query.set('n', String(limit));
  query.set('last', last);
  ctx.set('Link', `<${ctx.path}?${query.toString()}>; rel="next"`);
}

function queryOf(ctx: RegistryContext): URLSearchParams {
  return new URLSearchParams(ctx.querystring);
}

function tellOfCache(ctx: RegistryContext, cache: CacheStatus): void {
  const { exchange } = ctx.state;
  exchange.cache = cache.word;
  exchange.staleReason = cache.reason;
  const header = cacheStatusHeader(cache);
  if (header !== undefined) ctx.set('Cache-Status', header);
}
