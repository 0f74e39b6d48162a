import { LRUCache } from 'lru-cache';
import { SingleFlight } from '../mirror/concurrency/single-flight.ts';
import { TurnsByKey } from '../mirror/concurrency/turns-by-key.ts';
import type { BlobStore } from '../mirror/ports/blob-store.ts';
import type { Clock } from '../mirror/ports/clock.ts';
import type { Observer } from '../mirror/ports/observer.ts';
import {
  parseBlobRecord,
  parseManifestRecord,
  type RecordFolders,
  type RecordStore,
} from '../mirror/ports/record-store.ts';
import { contentKey, type RepositoryId, repositoryKey } from '../mirror/ports/repository-id.ts';
import { type Link, maxLinkedRepositories } from '../mirror/ports/store-index.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';
import type { Digest } from '../oci/digest.ts';
import { UpstreamError } from '../oci/errors.ts';
import { maxManifestBytes, namedBy } from '../oci/manifest.ts';

export interface StoredLinksDeps {
  readonly records: Pick<RecordStore, 'read'> & RecordFolders;
  readonly store: Pick<BlobStore, 'open' | 'readAll'>;
  readonly observer: Pick<Observer, 'internalError'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly limits?: Partial<StoredLinksLimits>;
}

export interface StoredLinksLimits {
  /** How long a search may take. A link that is not found by then is not borrowed. */
  readonly searchWithinMs: number;
  /** After this a search is content with the links that it has found. Its wait for other searches counts. */
  readonly enoughAfterMs: number;
  /** Repositories of an upstream that are looked at; in memory for a minute after a search. */
  readonly maxRepositories: number;
  /** Manifests of a repository that are looked at. */
  readonly maxManifests: number;
  /** Digests named by manifests that were read, in memory. */
  readonly maxNames: number;
}

const defaultLimits: StoredLinksLimits = {
  searchWithinMs: 8_000,
  enoughAfterMs: 5_000,
  maxRepositories: 50_000,
  maxManifests: 5_000,
  maxNames: 100_000,
};

/** Records that are read at the same time by one search. */
const readTogether = 32;
/** Searches at the same time, so that they leave the disk to others, and how many more may wait. */
const searches = { perKey: 2, maxWaiting: 1_000 };
const repositoriesKnownForMs = 60_000;
/** Repositories that were linked to something last: they are looked at first. */
const maxRecent = 1_000;
/** Manifests that a repository was linked to last: their records may not be on the disk yet. */
const maxRecentManifests = 32;

export interface LinkQuestion {
  readonly repositoryId: RepositoryId;
  readonly digest: Digest;
  readonly kind: Link['kind'];
}

interface Searching extends Waiting {
  readonly enoughAtMs: number;
}

interface RecentRepository {
  readonly repositoryId: RepositoryId;
  readonly manifests: readonly Digest[];
}

interface KnownRepositories {
  readonly sinceMs: number;
  readonly repositories: Promise<readonly RepositoryId[]>;
}

/**
 * Finds links in the records of a store while no index knows them, by the same rule as an index: a manifest that the repository is linked to
 * names the digest, and other repositories of the same upstream are linked to it. Those are looked at only after the manifest was found.
 */
export class StoredLinks {
  readonly #deps: StoredLinksDeps;
  readonly #limits: StoredLinksLimits;
  readonly #searches = new SingleFlight<readonly Link[]>();
  readonly #turns = new TurnsByKey(searches);
  /** What manifests name: never outdated. */
  readonly #names: LRUCache<Digest, readonly Digest[]>;
  readonly #recent = new LRUCache<string, RecentRepository>({ max: maxRecent });
  readonly #known = new LRUCache<string, KnownRepositories>({ max: 16 });

  constructor(deps: StoredLinksDeps) {
    this.#deps = deps;
    this.#limits = { ...defaultLimits, ...deps.limits };
    this.#names = new LRUCache({ maxSize: this.#limits.maxNames, sizeCalculation: ({ length }) => length + 1 });
  }

  /** A repository was linked to content. */
  linked({ repositoryId, kind, digest }: Link): void {
    const name = repositoryKey(repositoryId);
    const before = this.#recent.get(name)?.manifests ?? [];
    const isNew = kind === 'manifest' && !before.includes(digest);
    const manifests = isNew ? [...before.slice(1 - maxRecentManifests), digest] : before;
    this.#recent.set(name, { repositoryId, manifests });
  }

  /** A manifest names these digests. */
  names(manifest: Digest, names: readonly Digest[]): void {
    this.#names.set(manifest, names);
  }

  /** Content is no longer stored. */
  forget(digest: Digest): void {
    this.#names.delete(digest);
  }

  /**
   * Links that a repository may borrow, a few if there are many. None also when too many searches wait, or this one takes too long.
   * @throws the store's error
   */
  async borrowable(question: LinkQuestion): Promise<readonly Link[]> {
    // Most that was named just now and is not stored is about to be downloaded.
    if (this.#isNamedByRecent(question) && !(await this.#isStored(question.digest))) return [];
    const signal = AbortSignal.timeout(this.#limits.searchWithinMs);
    const key = `${question.kind} ${contentKey(question.repositoryId, question.digest)}`;
    const enoughAtMs = this.#deps.clock.monotonicMs() + this.#limits.enoughAfterMs;
    const search = (flight: Waiting) =>
      this.#turns.run('search', () => this.#search(question, { ...flight, enoughAtMs }), flight);
    try {
      return (await this.#searches.run(key, search, { signal })).value;
    } catch (cause) {
      const isGivenUp = signal.aborted || cause instanceof UpstreamError;
      if (!isGivenUp) this.#deps.observer.internalError({ part: 'links in records', cause });
      return [];
    }
  }

  async #search(question: LinkQuestion, waiting: Searching): Promise<readonly Link[]> {
    if (!this.#isNamedByRecent(question) && !(await this.#isNamedIn(question, waiting))) return [];
    return (await this.#isStored(question.digest)) ? this.#linksTo(question, waiting) : [];
  }

  async #isStored(digest: Digest): Promise<boolean> {
    const stored = await this.#deps.store.open(digest);
    await stored?.[Symbol.asyncDispose]();
    return stored !== undefined;
  }

  #isNamedByRecent({ repositoryId, digest }: LinkQuestion): boolean {
    const recent = this.#recent.get(repositoryKey(repositoryId))?.manifests ?? [];
    return recent.some((manifest) => this.#names.get(manifest)?.includes(digest));
  }

  /** Manifests that were read before are looked at first. */
  async #isNamedIn({ repositoryId, digest }: LinkQuestion, { signal }: Waiting): Promise<boolean> {
    const unread: Digest[] = [];
    for await (const manifest of atMost(this.#limits.maxManifests, this.#deps.records.manifestsOf(repositoryId))) {
      signal.throwIfAborted();
      const names = this.#names.get(manifest);
      if (names?.includes(digest)) return true;
      if (!names) unread.push(manifest);
    }
    for await (const read of inBatches(unread, (manifest) => this.#namesIn(repositoryId, manifest))) {
      signal.throwIfAborted();
      if (read.some((names) => names?.includes(digest))) return true;
    }
    return false;
  }

  /** What a manifest of a repository names. @returns undefined if it cannot be read. */
  #namesIn(repositoryId: RepositoryId, digest: Digest): Promise<readonly Digest[] | undefined> {
    const { records, store } = this.#deps;
    return this.#unlessUnreadable(async () => {
      const record = parseManifestRecord(await records.read({ kind: 'manifest', repositoryId, digest }));
      const bytes = record && (await store.readAll(digest, maxManifestBytes));
      const names = bytes && namedBy(bytes).map((child) => child.digest);
      if (names) this.names(digest, names);
      return names;
    });
  }

  async #linksTo({ repositoryId, digest, kind }: LinkQuestion, waiting: Searching): Promise<readonly Link[]> {
    const { upstream } = repositoryId;
    const found = new Map<string, Link>();
    const isEnough = () =>
      found.size >= maxLinkedRepositories || (found.size > 0 && this.#deps.clock.monotonicMs() >= waiting.enoughAtMs);
    const look = async (repositories: readonly RepositoryId[]): Promise<void> => {
      for await (const links of inBatches(repositories, (other) => this.#linkOf(other, digest, kind))) {
        waiting.signal.throwIfAborted();
        for (const link of links) if (link) found.set(repositoryKey(link.repositoryId), link);
        if (isEnough()) return;
      }
    };
    const recent = [...this.#recent.values()].map((other) => other.repositoryId);
    await look(recent.filter((other) => other.upstream === upstream));
    if (!isEnough()) await look(await this.#repositoriesOf(upstream));
    return [...found.values()].slice(0, maxLinkedRepositories);
  }

  #linkOf(repositoryId: RepositoryId, digest: Digest, kind: Link['kind']): Promise<Link | undefined> {
    return this.#unlessUnreadable(async () => {
      const value = await this.#deps.records.read({ kind, repositoryId, digest });
      const manifest = kind === 'manifest' ? parseManifestRecord(value) : undefined;
      const record = kind === 'manifest' ? manifest : parseBlobRecord(value);
      return record && { repositoryId, kind, digest, mediaType: manifest?.mediaType, size: record.size };
    });
  }

  /** Read once for all searches of a minute. What was linked meanwhile is among the recent ones. */
  #repositoriesOf(upstream: string): Promise<readonly RepositoryId[]> {
    const nowMs = this.#deps.clock.monotonicMs();
    const known = this.#known.get(upstream);
    if (known && nowMs - known.sinceMs < repositoriesKnownForMs) return known.repositories;
    const repositories = this.#readRepositories(upstream);
    this.#known.set(upstream, { sinceMs: nowMs, repositories });
    repositories.catch(() => this.#known.delete(upstream));
    return repositories;
  }

  async #readRepositories(upstream: string): Promise<readonly RepositoryId[]> {
    const { records } = this.#deps;
    return Array.fromAsync(atMost(this.#limits.maxRepositories, records.repositoriesOf(upstream)));
  }

  async #unlessUnreadable<Value>(read: () => Promise<Value | undefined>): Promise<Value | undefined> {
    try {
      return await read();
    } catch (cause) {
      this.#deps.observer.internalError({ part: 'links in records', cause });
      return undefined;
    }
  }
}

async function* atMost<Value>(count: number, values: AsyncIterable<Value>): AsyncIterable<Value> {
  let left = count;
  for await (const value of values) {
    if (left === 0) return;
    left -= 1;
    yield value;
  }
}

async function* inBatches<Value, Result>(
  values: readonly Value[],
  read: (value: Value) => Promise<Result>,
): AsyncIterable<readonly Result[]> {
  for (let from = 0; from < values.length; from += readTogether)
    yield Promise.all(values.slice(from, from + readTogether).map(read));
}
