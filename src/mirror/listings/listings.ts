import type { Digest } from '../../oci/digest.ts';
import { CachedListings, type Listed, type ListedWhole, type ListingsDeps } from './cached-listings.ts';
import { ListsInProgress } from './lists-in-progress.ts';
import { tagNamesOf, type TagPage, tagPage, type WantedPage } from './tag-names.ts';
import { UpstreamError } from '../../oci/errors.ts';
import { isTag } from '../../oci/reference.ts';
import { Remembered } from '../concurrency/remembered.ts';
import { type RepositoryId, repositoryKey } from '../ports/repository-id.ts';
import { ListingTooLong, type PageOfTags, type Upstream } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';
import {
  parseReferrersRecord,
  parseTagListRecord,
  type ReferrersRecord,
  type TagListRecord,
} from '../ports/record-store.ts';

/** For so long the whole list is not tried again. */
const tooLongForMs = 5 * 60_000;

export interface WantedPartOfCatalog {
  readonly last: string | undefined;
  readonly limit: number;
  readonly mostMs?: number;
}

export interface PartOfCatalog {
  readonly names: readonly string[];
  /** The rest comes after it; undefined if there is none. Clients may not learn it unless it is listed. */
  readonly lookedTo: string | undefined;
}

/**
 * Cached tags and referrers. A listing that was never fetched is an error, not an empty list: an empty list of referrers would mean
 * "unsigned".
 */
export class Listings {
  readonly #deps: ListingsDeps;
  readonly #inProgress = new ListsInProgress();
  readonly #tags: CachedListings<TagListRecord>;
  readonly #referrers: CachedListings<ReferrersRecord>;
  /** Repositories whose list of tags was too long to be fetched. */
  readonly #tooLong: Remembered<ListingTooLong>;

  constructor(deps: ListingsDeps) {
    this.#deps = deps;
    this.#tooLong = new Remembered({ clock: deps.clock, max: 1_000 });
    this.#tags = new CachedListings(deps, { parse: parseTagListRecord, bytesOf: ({ names }) => names.length });
    this.#referrers = new CachedListings(deps, {
      parse: parseReferrersRecord,
      bytesOf: ({ referrers }) => JSON.stringify(referrers).length,
    });
  }

  tags(upstream: Upstream, repositoryId: RepositoryId, waiting: Waiting): Promise<ListedWhole<TagListRecord>> {
    const ask = async (flight: Waiting) => {
      const tags = await this.#inProgress.during(repositoryId, (onPage) =>
        upstream.listTags(repositoryId.repository, { ...flight, onPage }),
      );
      return { names: await tagNamesOf(tags), fetchedAtMs: this.#deps.clock.now() };
    };
    return this.#tags.list({ upstream, key: { kind: 'tag-list', repositoryId }, ask }, waiting);
  }

  /**
   * One page of the tags, as soon as it is known: from the list that is being fetched, or from the whole list. A list that is too long to
   * be fetched is asked for page by page.
   */
  async tagPage(
    upstream: Upstream,
    repositoryId: RepositoryId,
    wanted: WantedPage,
    waiting: Waiting,
  ): Promise<Listed<TagPage>> {
    const name = repositoryKey(repositoryId);
    try {
      if (!this.#tooLong.get(name)) return await this.#pageOfWhole(upstream, repositoryId, wanted, waiting);
    } catch (cause) {
      if (!(cause instanceof ListingTooLong)) throw cause;
      this.#tooLong.remember(name, cause, tooLongForMs);
    }
    return this.#pageAlone(upstream, repositoryId, wanted, waiting);
  }

  /** A page as the upstream has it. Only lexical order shows that it understood where the page begins. */
  async #pageAlone(
    upstream: Upstream,
    repositoryId: RepositoryId,
    wanted: WantedPage,
    waiting: Waiting,
  ): Promise<Listed<TagPage>> {
    let hasMore = false;
    const onPage = ({ hasNext }: PageOfTags) => {
      hasMore = hasNext;
    };
    const ask = () => upstream.listTags(repositoryId.repository, { signal: waiting.signal, onPage, only: wanted });
    const names = (await this.#deps.waiters.wait(upstream.label, ask)).filter(isTag);
    const tags = names.slice(0, wanted.limit);
    const isBehind = tags.every((tag, place) => tag > (tags[place - 1] ?? wanted.last ?? ''));
    if (!isBehind)
      throw new UpstreamError('misbehaving', `${upstream.name} has a long list of tags that is in no order`);
    const listing = { tags, hasMore: hasMore || tags.length < names.length };
    return { listing, cache: { word: 'miss', upstreamStatus: 200 } };
  }

  async #pageOfWhole(
    upstream: Upstream,
    repositoryId: RepositoryId,
    wanted: WantedPage,
    waiting: Waiting,
  ): Promise<Listed<TagPage>> {
    const answered = new AbortController();
    const signal = AbortSignal.any([waiting.signal, answered.signal]);
    const wasKnown = () => this.#tags.isRemembered({ kind: 'tag-list', repositoryId });
    try {
      return await Promise.race([
        this.tags(upstream, repositoryId, { signal }).then(({ listing, cache }) => ({
          listing: tagPage(listing.names, wanted),
          cache,
        })),
        this.#inProgress.page(repositoryId, wanted, { signal }).then((listing) => ({
          listing,
          cache: { word: wasKnown() ? ('revalidated' as const) : ('miss' as const), upstreamStatus: 200 },
        })),
      ]);
    } finally {
      answered.abort();
    }
  }

  referrers(
    upstream: Upstream,
    repositoryId: RepositoryId,
    digest: Digest,
    waiting: Waiting,
  ): Promise<ListedWhole<ReferrersRecord>> {
    const ask = async (flight: Waiting) => {
      const referrers = await upstream.listReferrers(repositoryId.repository, digest, flight);
      return { referrers, fetchedAtMs: this.#deps.clock.now() };
    };
    return this.#referrers.list({ upstream, key: { kind: 'referrers', repositoryId, digest }, ask }, waiting);
  }
}
