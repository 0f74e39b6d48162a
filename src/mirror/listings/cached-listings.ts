import { LRUCache } from 'lru-cache';
import { UpstreamError } from '../../oci/errors.ts';
import type { Background } from '../concurrency/background.ts';
import { type SoftTimeout, TooSlow } from '../concurrency/soft-timeout.ts';
import {
  failureDecision,
  type FreshnessPolicies,
  freshnessOf,
  type StaleDecision,
  staleDecision,
  staleMsOf,
} from '../tags/freshness.ts';
import type { CacheStatus } from '../ports/cache-status.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import { type RecordKey, recordName, type RecordStore } from '../ports/record-store.ts';
import type { Upstream } from '../ports/upstream.ts';
import type { SharedWorkTracing } from '../ports/tracing.ts';
import type { Waiting } from '../ports/waiting.ts';
import { Remembered } from '../concurrency/remembered.ts';
import { TurnsByKey } from '../concurrency/turns-by-key.ts';
import { TooManyWaiters, type UpstreamWaiters } from '../concurrency/upstream-waiters.ts';
import { type Flight, type Shared, SingleFlight } from '../concurrency/single-flight.ts';

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
  readonly tracing?: SharedWorkTracing | undefined;
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

type ServeStale = Extract<StaleDecision, { readonly word: 'serve-stale' }>;

/**
 * What all clients of one lookup get: the listing from the upstream, or each the cached one that it has read. The cached one is not part of
 * the outcome, which stays in memory as long as the request to the upstream.
 */
type Outcome<Listing> =
  | { readonly word: 'fetched'; readonly fetched: Measured<Listing> }
  | (ServeStale & { readonly cause: unknown });

const maxLifetimeMs = 5 * 60_000;
/** Bounds the requests of one upstream: each continues without its clients, and may hold as much memory as the longest listing. */
const turnsOfUpstream = { perKey: 8, maxWaiting: 256 };
/** Bounds the reads from the disk: each holds one file, and the listing parsed from it, in memory. */
const readsOfUpstream = { perKey: 2, maxWaiting: 10_000 };

/**
 * Listings of one kind: fetched from the upstream, cached with a short lifetime, and served stale while the upstream does not answer.
 *
 *     fresh ──▶ hit
 *     served stale a moment ago ──▶ stale
 *     else one lookup for all clients that ask at the same time:
 *        never fetched ──▶ ask ──▶ miss
 *        cached        ──▶ ask ──┬─▶ revalidated
 *                                ├─▶ no answer within the soft timeout ──▶ stale ─ not allowed ─▶ wait for the answer
 *                                └─▶ failed ──▶ stale ─ not allowed ─▶ fail
 */
export class CachedListings<Listing extends Kept> {
  readonly #deps: ListingsDeps;
  readonly #kind: ListingKind<Listing>;
  readonly #memory: LRUCache<string, Measured<Listing>>;
  /** One lookup of a listing for all its clients. It lasts as long as its request to the upstream, which continues without its clients. */
  readonly #flights: SingleFlight<Outcome<Listing>>;
  /** Running reads from the disk. */
  readonly #reads = new SingleFlight<Measured<Listing> | undefined>();
  readonly #readTurns = new TurnsByKey(readsOfUpstream);
  readonly #turns = new TurnsByKey(turnsOfUpstream);
  /** Why a listing was served stale a moment ago. */
  readonly #stale: Remembered<CacheStatus>;

  constructor(deps: ListingsDeps, kind: ListingKind<Listing>) {
    this.#deps = deps;
    this.#flights = new SingleFlight(deps);
    this.#kind = kind;
    this.#stale = new Remembered({ clock: deps.clock, max: 2_000 });
    this.#memory = new LRUCache({
      max: 2_000,
      maxSize: deps.memoryBytes,
      sizeCalculation: ({ bytes }) => bytes + 512,
    });
  }

  async list(question: Question<Listing>, waiting: Waiting): Promise<ListedWhole<Listing>> {
    const name = recordName(question.key);
    const known = await this.#known(question, waiting);
    if (known && this.#isFresh(question.upstream, known.listing)) return { ...known, cache: { word: 'hit' } };
    const stale = known && this.#stale.get(name);
    if (stale) return { ...known, cache: stale };
    const { value, collapsed } = await this.#lookUpTogether(question, known, waiting);
    if (value.word === 'fetched')
      return { ...value.fetched, cache: fetchedStatus({ isKnown: known !== undefined, collapsed }) };
    if (!known) throw value.cause;
    return { ...known, cache: staleStatus(value) };
  }

  /** Whether the listing is in memory, fresh or not. */
  isRemembered(key: RecordKey): boolean {
    return this.#memory.has(recordName(key));
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
    const name = recordName(question.key);
    const remembered = this.#memory.get(name);
    if (remembered) return remembered;
    const read = (flight: Waiting) =>
      this.#readTurns.run(question.upstream.label, () => this.#read(question.key), flight);
    return (await this.#reads.run(name, read, waiting)).value;
  }

  async #read(key: RecordKey): Promise<Measured<Listing> | undefined> {
    const name = recordName(key);
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

  /** If too many requests wait for the upstream, the cached listing is served without a lookup, as when the upstream is slow. */
  async #lookUpTogether(
    question: Question<Listing>,
    known: Measured<Listing> | undefined,
    waiting: Waiting,
  ): Promise<Shared<Outcome<Listing>>> {
    const lookUp = (flight: Flight) => this.#lookUp(question, known, flight);
    try {
      return await this.#deps.waiters.wait(question.upstream.label, () =>
        this.#flights.run(recordName(question.key), lookUp, waiting),
      );
    } catch (cause) {
      const stale = cause instanceof TooManyWaiters ? this.#staleFor(question, known, cause) : undefined;
      if (!stale) throw cause;
      return { value: stale, collapsed: false };
    }
  }

  async #lookUp(
    question: Question<Listing>,
    known: Measured<Listing> | undefined,
    flight: Flight,
  ): Promise<Outcome<Listing>> {
    const asked = this.#ask(question);
    // Fetching many pages may take longer than any client waits: if it ended with its clients, it would never be complete.
    flight.lastUntil(asked);
    try {
      const inTime = known ? this.#deps.softTimeout.for(asked, `listing ${recordName(question.key)}`, flight) : asked;
      return { word: 'fetched', fetched: await inTime };
    } catch (cause) {
      const stale = this.#staleFor(question, known, cause);
      const decision = failureDecision({ hasFallback: stale !== undefined, isTooSlow: cause instanceof TooSlow });
      if (decision === 'serve-fallback' && stale) return stale;
      if (decision === 'fail') throw cause;
      return { word: 'fetched', fetched: await asked };
    }
  }

  async #ask({ upstream, key, ask }: Question<Listing>): Promise<Measured<Listing>> {
    const { records, background, listWithinMs } = this.#deps;
    const deadline = AbortSignal.timeout(listWithinMs);
    try {
      const waiting = { signal: deadline };
      const listing = await this.#turns.run(upstream.label, () => ask(waiting), waiting);
      const measured = this.#remember(recordName(key), listing);
      this.#stale.forget(recordName(key));
      background.run('listing record', () => records.write(key, listing));
      return measured;
    } catch (cause) {
      if (!deadline.aborted) throw cause;
      throw new UpstreamError('timeout', `${key.repositoryId.upstream} did not send all pages of a listing in time`, {
        cause,
      });
    }
  }

  /** @returns undefined if there is no cached listing, or if it may not be served after this failure. */
  #staleFor(
    { upstream, key }: Question<Listing>,
    known: Measured<Listing> | undefined,
    cause: unknown,
  ): Extract<Outcome<Listing>, ServeStale> | undefined {
    if (!known) return undefined;
    const { clock, observer, policies, retryFailedAfterMs } = this.#deps;
    const lifetimeMs = this.#lifetimeMs(upstream);
    const staleMs = staleMsOf(known.listing.fetchedAtMs, lifetimeMs, clock.now());
    const decision = staleDecision(cause, staleMs, policies.rulesOf(upstream.label));
    if (decision.word === 'fail') return undefined;
    observer.servedStale({ upstream: upstream.label, reason: decision.reason });
    this.#stale.remember(recordName(key), staleStatus(decision), Math.min(retryFailedAfterMs, lifetimeMs));
    return { ...decision, cause };
  }
}

function fetchedStatus({ isKnown, collapsed }: { isKnown: boolean; collapsed: boolean }): CacheStatus {
  const word = collapsed ? 'collapsed' : 'miss';
  return { word: isKnown ? 'revalidated' : word, upstreamStatus: 200, stored: true };
}

function staleStatus({ reason }: ServeStale): CacheStatus {
  return { word: 'stale', reason };
}
