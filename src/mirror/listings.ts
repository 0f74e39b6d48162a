import type { Digest } from '../oci/digest.ts';
import { CachedListings, type Listed, type ListingsDeps } from './listings/cached-listings.ts';
import { tagNamesOf } from './listings/tag-names.ts';
import type { RepositoryId } from './ports/repository-id.ts';
import type { Upstream } from './ports/upstream.ts';
import type { Waiting } from './ports/waiting.ts';
import { parseReferrersRecord, parseTagListRecord, type ReferrersRecord, type TagListRecord } from './records.ts';

/**
 * Tags and referrers, as cached listings. What was never fetched is an error, never an empty list: an empty list of referrers reads as
 * "unsigned".
 */
export class Listings {
  readonly #deps: ListingsDeps;
  readonly #tags: CachedListings<TagListRecord>;
  readonly #referrers: CachedListings<ReferrersRecord>;

  constructor(deps: ListingsDeps) {
    this.#deps = deps;
    this.#tags = new CachedListings(deps, { parse: parseTagListRecord, bytesOf: ({ names }) => names.length });
    this.#referrers = new CachedListings(deps, {
      parse: parseReferrersRecord,
      bytesOf: ({ referrers }) => JSON.stringify(referrers).length,
    });
  }

  tags(upstream: Upstream, of: RepositoryId, waiting: Waiting): Promise<Listed<TagListRecord>> {
    const ask = async (flight: Waiting) => {
      const names = await tagNamesOf(await upstream.listTags(of.repository, flight));
      return { names, fetchedAtMs: this.#deps.clock.now() };
    };
    return this.#tags.list({ upstream, key: { kind: 'tag-list', of }, ask }, waiting);
  }

  referrers(upstream: Upstream, of: RepositoryId, digest: Digest, waiting: Waiting): Promise<Listed<ReferrersRecord>> {
    const ask = async (flight: Waiting) => {
      const referrers = await upstream.listReferrers(of.repository, digest, flight);
      return { referrers, fetchedAtMs: this.#deps.clock.now() };
    };
    return this.#referrers.list({ upstream, key: { kind: 'referrers', of, digest }, ask }, waiting);
  }
}
