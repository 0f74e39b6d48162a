import { LRUCache } from 'lru-cache';
import type { Digest } from '../oci/digest.ts';
import type { Descriptor } from '../oci/manifest.ts';
import type { Background } from './background.ts';
import { type BriefWait, TooSlow } from './brief-wait.ts';
import { type FreshnessPolicies, freshnessOf, staleDecision, staleMsOf } from './freshness.ts';
import type { CacheStatus, Clock, Observer, RecordKey, RecordStore, RepositoryId, Upstream, Waiting } from './ports.ts';
import { parseReferrersRecord, parseTagListRecord, type ReferrersRecord, type TagListRecord } from './records.ts';
import { Remembered } from './remembered.ts';
import { SingleFlight } from './single-flight.ts';

export interface ListingsDeps {
  readonly records: RecordStore;
  readonly background: Background;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly policies: FreshnessPolicies;
  readonly briefWait: BriefWait;
  /** How long a failed look upstream is not repeated. */
  readonly retryFailedAfterMs: number;
}

export interface Listed<Listing> {
  readonly listing: Listing;
  readonly cache: CacheStatus;
}

interface Kept {
  readonly fetchedAtMs: number;
}

/** How one kind of listing is named, read back and asked for. */
interface ListingKind<Listing extends Kept> {
  readonly key: RecordKey;
  readonly parse: (value: unknown) => Listing | undefined;
  readonly ask: (waiting: Waiting) => Promise<Listing>;
}

const maxLifetimeMs = 5 * 60_000;

/**
 * Tags and referrers: asked upstream with a short lifetime, kept, and served stale when there is no answer. What was never fetched is
 * an error, never an empty list: an empty list of referrers reads as "unsigned".
 */
export class Listings {
  readonly #deps: ListingsDeps;
  readonly #memory = new LRUCache<string, Kept>({ max: 2_000 });
  readonly #flights = new SingleFlight<Listed<Kept>>();
  /** Questions to the upstream. Each goes on without its clients. */
  readonly #asks = new SingleFlight<Kept>();
  readonly #stale: Remembered<Listed<Kept>>;

  constructor(deps: ListingsDeps) {
    this.#deps = deps;
    this.#stale = new Remembered({ clock: deps.clock, max: 2_000 });
  }

  tags(upstream: Upstream, of: RepositoryId, waiting: Waiting): Promise<Listed<TagListRecord>> {
    return this.#list(
      upstream,
      {
        key: { kind: 'tag-list', of },
        parse: parseTagListRecord,
        ask: async (flight) => {
          const tags = await upstream.listTags(of.repository, flight);
          return { tags: [...new Set(tags)].sort(), fetchedAtMs: this.#deps.clock.now() };
        },
      },
      waiting,
    );
  }

  referrers(upstream: Upstream, of: RepositoryId, digest: Digest, waiting: Waiting): Promise<Listed<ReferrersRecord>> {
    return this.#list(
      upstream,
      {
        key: { kind: 'referrers', of, digest },
        parse: parseReferrersRecord,
        ask: async (flight) => {
          const referrers: readonly Descriptor[] = await upstream.listReferrers(of.repository, digest, flight);
          return { referrers, fetchedAtMs: this.#deps.clock.now() };
        },
      },
      waiting,
    );
  }

  async #list<Listing extends Kept>(
    upstream: Upstream,
    kind: ListingKind<Listing>,
    waiting: Waiting,
  ): Promise<Listed<Listing>> {
    const name = nameOf(kind.key);
    const known = await this.#known(name, kind);
    if (known && this.#isFresh(upstream, known)) return { listing: known, cache: { word: 'hit' } };
    const stale = known && this.#stale.get(name);
    if (stale) return { listing: known, cache: stale.cache };
    const { value, collapsed } = await this.#flights.run(
      name,
      (flight) => this.#look(upstream, kind, known, flight),
      waiting,
    );
    // One name is always one kind of listing: what the flight brought parses as what was asked for.
    const listing = kind.parse(value.listing);
    if (!listing) throw new Error(`the listing ${name} changed its shape`);
    const cache: CacheStatus =
      collapsed && value.cache.word === 'miss' ? { ...value.cache, word: 'collapsed' } : value.cache;
    return { listing, cache };
  }

  #isFresh(upstream: Upstream, { fetchedAtMs }: Kept): boolean {
    return freshnessOf(fetchedAtMs, this.#lifetimeMs(upstream), this.#deps.clock.now()) === 'fresh';
  }

  /** That of a tag, but short: somebody may have signed an image, or pushed a tag, since. */
  #lifetimeMs({ label }: Upstream): number {
    const { offline, tagMs } = this.#deps.policies.rulesOf(label);
    return offline ? Infinity : Math.min(tagMs, maxLifetimeMs);
  }

  async #known<Listing extends Kept>(name: string, { key, parse }: ListingKind<Listing>): Promise<Listing | undefined> {
    const remembered = this.#memory.get(name);
    if (remembered) return parse(remembered);
    const record = parse(await this.#deps.records.read(key));
    // Somebody may have fetched it while we read.
    const newer = this.#memory.get(name);
    if (record && !newer) this.#memory.set(name, record);
    return newer ? parse(newer) : record;
  }

  async #look<Listing extends Kept>(
    upstream: Upstream,
    { key, ask }: ListingKind<Listing>,
    known: Listing | undefined,
    waiting: Waiting,
  ): Promise<Listed<Kept>> {
    const name = nameOf(key);
    const asked = this.#asks.run(name, (flight) => this.#ask(key, ask, flight), waiting);
    // Hundreds of pages may take longer than anybody waits: begun anew each time, they would never all come.
    void this.#asks.goOn(name)?.catch(() => {}); // Whoever waits hears of it.
    try {
      const { value } = await (known ? this.#deps.briefWait.for(asked, upstream.label, waiting) : asked);
      return { listing: value, cache: { word: known ? 'revalidated' : 'miss', upstreamStatus: 200, stored: true } };
    } catch (cause) {
      waiting.signal.throwIfAborted();
      const stale = known && this.#staleFor(upstream, { name, known, cause });
      if (stale) return stale;
      if (!(cause instanceof TooSlow)) throw cause;
      return { listing: (await asked).value, cache: { word: 'revalidated', upstreamStatus: 200, stored: true } };
    }
  }

  async #ask(key: RecordKey, ask: (waiting: Waiting) => Promise<Kept>, waiting: Waiting): Promise<Kept> {
    const { records, background } = this.#deps;
    const listing = await ask(waiting);
    this.#memory.set(nameOf(key), listing);
    this.#stale.forget(nameOf(key));
    background.run('listing record', () => records.write(key, listing));
    return listing;
  }

  #staleFor(
    upstream: Upstream,
    { name, known, cause }: { readonly name: string; readonly known: Kept; readonly cause: unknown },
  ): Listed<Kept> | undefined {
    const { clock, observer, policies, retryFailedAfterMs } = this.#deps;
    const lifetimeMs = this.#lifetimeMs(upstream);
    const staleMs = staleMsOf(known.fetchedAtMs, lifetimeMs, clock.now());
    const decision = staleDecision(cause, staleMs, policies.rulesOf(upstream.label));
    if (decision.word === 'fail') return undefined;
    observer.servedStale({ upstream: upstream.label, reason: decision.reason });
    const stale: Listed<Kept> = { listing: known, cache: { word: 'stale', reason: decision.reason } };
    this.#stale.remember(name, stale, Math.min(retryFailedAfterMs, lifetimeMs));
    return stale;
  }
}

function nameOf(key: RecordKey): string {
  const { upstream, repository } = key.of;
  return `${key.kind} ${upstream}/${repository} ${'digest' in key ? key.digest : ''}`;
}
