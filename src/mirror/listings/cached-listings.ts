import { LRUCache } from 'lru-cache';
import { UpstreamError } from '../../oci/errors.ts';
import type { Background } from '../concurrency/background.ts';
import { type SoftTimeout, TooSlow } from '../concurrency/soft-timeout.ts';
import { type FreshnessPolicies, freshnessOf, staleDecision, staleMsOf } from '../tags/freshness.ts';
import type { CacheStatus } from '../ports/cache-status.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { RecordKey, RecordStore } from '../ports/record-store.ts';
import type { Upstream } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';
import { Remembered } from '../concurrency/remembered.ts';
import { TurnsByKey } from '../concurrency/turns-by-key.ts';
import { TooManyWaiters, type UpstreamWaiters } from '../concurrency/upstream-waiters.ts';
import { type Shared, SingleFlight } from '../concurrency/single-flight.ts';

export interface ListingsDeps {
  readonly records: RecordStore;
  readonly background: Background;
  readonly waiters: Pick<UpstreamWaiters, 'wait'>;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly policies: FreshnessPolicies;
  readonly softTimeout: SoftTimeout;
  /** How long a failed request to the upstream is not repeated. */
  readonly retryFailedAfterMs: number;
  /** The most memory for listings of one kind; the least recently used ones are dropped, and read from the disk again. */
  readonly memoryBytes: number;
  /** How long an upstream has for all pages of one listing. */
  readonly listWithinMs: number;
}

export interface Listed<Listing> {
  readonly listing: Listing;
  readonly cache: CacheStatus;
}

/** A whole listing. */
export interface ListedWhole<Listing> extends Listed<Listing> {
  /** Its size in memory, about. */
  readonly bytes: number;
}

interface Kept {
  readonly fetchedAtMs: number;
}

/** How listings of one kind are read back and measured. */
export interface ListingKind<Listing extends Kept> {
  readonly parse: (value: unknown) => Listing | undefined;
  readonly bytesOf: (listing: Listing) => number;
}

interface Measured<Listing> {
  readonly listing: Listing;
  readonly bytes: number;
}

interface Question<Listing extends Kept> {
  readonly upstream: Upstream;
  readonly key: RecordKey;
  readonly ask: (waiting: Waiting) => Promise<Listing>;
}

const maxLifetimeMs = 5 * 60_000;
/** Bounds the requests of one upstream: each continues without its clients, and may hold as much memory as the longest listing. */
const turnsOfUpstream = { perKey: 8, maxWaiting: 256 };
/** Bounds the reads from the disk: each holds one file, and the listing parsed from it, in memory. */
const readsOfUpstream = { perKey: 2, maxWaiting: 10_000 };

/** Listings of one kind: fetched from the upstream, cached with a short lifetime, and served stale while the upstream does not answer. */
export class CachedListings<Listing extends Kept> {
  readonly #deps: ListingsDeps;
  readonly #kind: ListingKind<Listing>;
  readonly #memory: LRUCache<string, Measured<Listing>>;
  readonly #flights = new SingleFlight<ListedWhole<Listing>>();
  /** Running reads from the disk. */
  readonly #reads = new SingleFlight<Measured<Listing> | undefined>();
  readonly #readTurns = new TurnsByKey(readsOfUpstream);
  /** Running requests to the upstream. Each continues without its clients. */
  readonly #asks = new SingleFlight<Measured<Listing>>();
  readonly #turns = new TurnsByKey(turnsOfUpstream);
  /** Why a listing was served stale a moment ago. */
  readonly #stale: Remembered<CacheStatus>;

  constructor(deps: ListingsDeps, kind: ListingKind<Listing>) {
    this.#deps = deps;
    this.#kind = kind;
    this.#stale = new Remembered({ clock: deps.clock, max: 2_000 });
    this.#memory = new LRUCache({
      max: 2_000,
      maxSize: deps.memoryBytes,
      sizeCalculation: ({ bytes }) => bytes + 512,
    });
  }

  async list(question: Question<Listing>, waiting: Waiting): Promise<ListedWhole<Listing>> {
    const name = listingName(question.key);
    const known = await this.#known(question, waiting);
    if (known && this.#isFresh(question.upstream, known.listing)) return { ...known, cache: { word: 'hit' } };
    const stale = known && this.#stale.get(name);
    if (stale) return { ...known, cache: stale };
    const { value, collapsed } = await this.#lookTogether(question, known, waiting);
    return collapsed && value.cache.word === 'miss'
      ? { ...value, cache: { ...value.cache, word: 'collapsed' } }
      : value;
  }

  /** Whether the listing is in memory, fresh or not. */
  isRemembered(key: RecordKey): boolean {
    return this.#memory.has(listingName(key));
  }

  #isFresh(upstream: Upstream, { fetchedAtMs }: Kept): boolean {
    return freshnessOf(fetchedAtMs, this.#lifetimeMs(upstream), this.#deps.clock.now()) === 'fresh';
  }

  /** The lifetime of a tag, but five minutes at most: an image may have been signed, or a tag pushed, since. */
  #lifetimeMs({ label }: Upstream): number {
    const { offline, tagMs } = this.#deps.policies.rulesOf(label);
    return offline ? Infinity : Math.min(tagMs, maxLifetimeMs);
  }

  /** Reads the listing from memory or the disk: once for all concurrent callers, and a few listings at a time. */
  async #known(question: Question<Listing>, waiting: Waiting): Promise<Measured<Listing> | undefined> {
    const name = listingName(question.key);
    const remembered = this.#memory.get(name);
    if (remembered) return remembered;
    const read = (flight: Waiting) =>
      this.#readTurns.run(question.upstream.label, () => this.#read(question.key), flight);
    return (await this.#reads.run(name, read, waiting)).value;
  }

  async #read(key: RecordKey): Promise<Measured<Listing> | undefined> {
    const name = listingName(key);
    const listing = this.#kind.parse(await this.#deps.records.read(key));
    // Another request may have fetched it meanwhile.
    const newer = this.#memory.get(name);
    return newer ?? (listing && this.#remember(name, listing));
  }

  #remember(name: string, listing: Listing): Measured<Listing> {
    const measured = { listing, bytes: this.#kind.bytesOf(listing) };
    this.#memory.set(name, measured);
    return measured;
  }

  /** One lookup for all concurrent callers. If too many requests wait for the upstream, the cached listing is served as when it is slow. */
  async #lookTogether(
    question: Question<Listing>,
    known: Measured<Listing> | undefined,
    waiting: Waiting,
  ): Promise<Shared<ListedWhole<Listing>>> {
    const { upstream, key } = question;
    const name = listingName(key);
    const look = () => this.#flights.run(name, (flight) => this.#look(question, known, flight), waiting);
    try {
      return await this.#deps.waiters.wait(upstream.label, look);
    } catch (cause) {
      if (!known || !(cause instanceof TooManyWaiters)) throw cause;
      const stale = this.#staleFor(upstream, { name, known, cause });
      if (!stale) throw cause;
      return { value: stale, collapsed: false };
    }
  }

  async #look(
    question: Question<Listing>,
    known: Measured<Listing> | undefined,
    waiting: Waiting,
  ): Promise<ListedWhole<Listing>> {
    const { upstream, key } = question;
    const name = listingName(key);
    const asked = this.#asks.run(name, (flight) => this.#ask(question, flight), waiting);
    // Fetching many pages may take longer than any client waits: if it ended with its clients, it would never be complete.
    void this.#asks.keepRunning(name)?.catch(() => {}); // Waiters handle the failure.
    try {
      const { value } = await (known ? this.#deps.softTimeout.for(asked, `listing ${name}`, waiting) : asked);
      return { ...value, cache: { word: known ? 'revalidated' : 'miss', upstreamStatus: 200, stored: true } };
    } catch (cause) {
      waiting.signal.throwIfAborted();
      const stale = known && this.#staleFor(upstream, { name, known, cause });
      if (stale) return stale;
      if (!(cause instanceof TooSlow)) throw cause;
      return { ...(await asked).value, cache: { word: 'revalidated', upstreamStatus: 200, stored: true } };
    }
  }

  async #ask({ upstream, key, ask }: Question<Listing>, { signal }: Waiting): Promise<Measured<Listing>> {
    const { records, background, listWithinMs } = this.#deps;
    const deadline = AbortSignal.timeout(listWithinMs);
    try {
      const waiting = { signal: AbortSignal.any([signal, deadline]) };
      const listing = await this.#turns.run(upstream.label, () => ask(waiting), waiting);
      const measured = this.#remember(listingName(key), listing);
      this.#stale.forget(listingName(key));
      background.run('listing record', () => records.write(key, listing));
      return measured;
    } catch (cause) {
      if (signal.aborted || !deadline.aborted) throw cause;
      throw new UpstreamError('timeout', `${key.repositoryId.upstream} did not send all pages of a listing in time`, {
        cause,
      });
    }
  }

  #staleFor(
    upstream: Upstream,
    { name, known, cause }: { readonly name: string; readonly known: Measured<Listing>; readonly cause: unknown },
  ): ListedWhole<Listing> | undefined {
    const { clock, observer, policies, retryFailedAfterMs } = this.#deps;
    const lifetimeMs = this.#lifetimeMs(upstream);
    const staleMs = staleMsOf(known.listing.fetchedAtMs, lifetimeMs, clock.now());
    const decision = staleDecision(cause, staleMs, policies.rulesOf(upstream.label));
    if (decision.word === 'fail') return undefined;
    observer.servedStale({ upstream: upstream.label, reason: decision.reason });
    const cache: CacheStatus = { word: 'stale', reason: decision.reason };
    this.#stale.remember(name, cache, Math.min(retryFailedAfterMs, lifetimeMs));
    return { ...known, cache };
  }
}

function listingName(key: RecordKey): string {
  const { upstream, repository } = key.repositoryId;
  return `${key.kind} ${upstream}/${repository} ${'digest' in key ? key.digest : ''}`;
}
