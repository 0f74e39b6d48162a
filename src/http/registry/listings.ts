import type { LocatedRepository, Mirror } from '../../mirror/mirror.ts';
import type { Digest } from '../../oci/digest.ts';
import { OciError } from '../../oci/errors.ts';
import { ociIndex } from '../../oci/media-types.ts';
import type { CacheStatus } from '../../mirror/ports/cache-status.ts';
import { cacheStatusHeader } from '../response/content-response.ts';
import type { RegistryContext } from '../server/exchange.ts';
import { sendDocument } from '../response/document.ts';
import type { LargeBodies } from '../response/memory-bodies.ts';

export interface ListingAnswerDeps {
  readonly mirror: Mirror;
  readonly large: LargeBodies;
}

/** The page size that a client names must not size an allocation (CVE-2023-2253). */
const maxPageSize = 10_000;
const defaultCatalogPage = 100;

/** `tags/list` with `n` and `last`; distribution-spec v1.1.1, "Listing Tags". */
export function answerTagList(
  ctx: RegistryContext,
  { mirror, large }: ListingAnswerDeps,
  located: LocatedRepository,
  name: string,
): Promise<void> {
  const page = pageOf(ctx, maxPageSize);
  let first: CacheStatus | undefined;
  return sendDocument(ctx, large, async () => {
    const { listing, cache } = await mirror.tagList(located, page, ctx.state.exchange);
    const { tags, hasMore } = listing;
    first ??= cache; // A large document is looked up twice; the first lookup says where it came from.
    setCacheStatus(ctx, first);
    return {
      bytes: bytesOf(tags),
      value: () => {
        if (hasMore) setNextLink(ctx, tags.at(-1), page.limit);
        return { name, tags };
      },
    };
  });
}

/** Referrers with `artifactType`; distribution-spec v1.1.1, "Listing Referrers". */
export function answerReferrers(
  ctx: RegistryContext,
  { mirror, large }: ListingAnswerDeps,
  located: LocatedRepository,
  digest: Digest,
): Promise<void> {
  const artifactType = queryOf(ctx).get('artifactType');
  let first: CacheStatus | undefined;
  return sendDocument(ctx, large, async () => {
    const { listing, cache, bytes } = await mirror.referrers(located, digest, ctx.state.exchange);
    first ??= cache; // A large document is looked up twice; the first lookup says where it came from.
    setCacheStatus(ctx, first);
    return {
      bytes,
      value: () => {
        const manifests =
          artifactType === null ? listing : listing.filter((referrer) => referrer.artifactType === artifactType);
        if (artifactType !== null) ctx.set('OCI-Filters-Applied', 'artifactType');
        ctx.set('Content-Type', ociIndex);
        return { schemaVersion: 2, mediaType: ociIndex, manifests };
      },
    };
  });
}

/** `_catalog`: the repositories with cached content, as `<upstream>/<repository>`, which is also how to pull them. */
export function answerCatalog(ctx: RegistryContext, { mirror, large }: ListingAnswerDeps): Promise<void> {
  const page = pageOf(ctx, defaultCatalogPage);
  // One more name shows whether there is a next page; `n=0` has none.
  const limit = page.limit === 0 ? 0 : page.limit + 1;
  return sendDocument(ctx, large, async () => {
    const found = (await mirror.catalog({ last: page.last, limit }, ctx.state.exchange)).names;
    const repositories = found.slice(0, page.limit);
    return {
      bytes: bytesOf(repositories),
      value: () => {
        if (repositories.length < found.length) setNextLink(ctx, repositories.at(-1), page.limit);
        return { repositories };
      },
    };
  });
}

/** The size of names as JSON: each in quotes, with a comma. */
function bytesOf(names: readonly string[]): number {
  return names.reduce((sum, name) => sum + name.length + 3, 0);
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

/** RFC 8288. The link is relative, so that it holds behind any proxy. `n=0` has no next page. */
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

function setCacheStatus(ctx: RegistryContext, cache: CacheStatus): void {
  const { exchange } = ctx.state;
  exchange.cache = cache.word;
  exchange.staleReason = cache.reason;
  const header = cacheStatusHeader(cache);
  if (header !== undefined) ctx.set('Cache-Status', header);
}
