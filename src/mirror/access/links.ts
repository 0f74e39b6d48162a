import type { LRUCache } from 'lru-cache';
import type { Digest } from '../../oci/digest.ts';
import type { Background } from '../concurrency/background.ts';
import { boundedMap, type Marks } from '../concurrency/remembered.ts';
import type { Clock } from '../ports/clock.ts';
import { type BlobRecord, parseBlobRecord, type RecordKey, type RecordStore } from '../ports/record-store.ts';
import { contentKey, type RepositoryId } from '../ports/repository-id.ts';
import type { ContentQuestion } from '../ports/shared-work.ts';
import type { Index, Link } from '../ports/store-index.ts';
import type { Space } from '../eviction/space.ts';
import { parseHostName } from '../../oci/reference.ts';
import type { Access } from './access.ts';
import type { Observer } from '../ports/observer.ts';
import type { UpstreamDirectory } from '../ports/upstream.ts';
import { unlessUnreadable } from '../blobs/served-blob.ts';

export interface BlobLinksDeps {
  readonly records: RecordStore;
  readonly index: Index;
  readonly background: Background;
  readonly clock: Clock;
  readonly borrowedLinks: Pick<BorrowedLinks, 'linkFor'>;
  /** Evicts until the store is below its bound. @returns whether it is. */
  readonly makeRoom: () => Promise<boolean>;
  readonly marks: Marks;
  /** Evicts what is above its bound after each link that was recorded. */
  readonly space: Pick<Space, 'tidy'>;
  /** How many links are kept in memory; for tests. */
  readonly inMemory?: number;
}

/** How many links are kept in memory. */
const mostInMemory = 200_000;

/** As many as {@link Background} retries. */
const mostUnwritten = 10_000;

/** How many links may make room concurrently; further ones are kept in memory only. */
const maxWaitingForRoom = 1_000;

/** When a link was kept. */
interface Kept {
  readonly mark: number;
  readonly atMs: number;
}

/**
 * Which repository may serve which blob. Bytes are stored once; a digest is served under a repository only if that repository's
 * upstream delivered or confirmed it, or a manifest served from it names it and the link of a repository of the same upstream is borrowed.
 * Not to repeat: CVE-2024-39897 (zot served through one repository what was cached through another).
 */
export class BlobLinks {
  readonly #deps: BlobLinksDeps;
  readonly #memory: LRUCache<string, BlobRecord>;
  /** Until their records are written or they are removed: memory may drop one before. */
  readonly #unwritten = boundedMap<string, BlobRecord>(mostUnwritten);
  /** When links were kept last that did not come from the disk. Without its mark, a link that is removed is asked for again. */
  readonly #kept = boundedMap<string, Kept>(20_000);
  #waitingForRoom = 0;

  constructor(deps: BlobLinksDeps) {
    this.#deps = deps;
    this.#memory = boundedMap(deps.inMemory ?? mostInMemory);
  }

  /** @returns undefined when the repository is not known to have the blob: the upstream must be asked. */
  async check(repositoryId: RepositoryId, digest: Digest): Promise<BlobRecord | undefined> {
    return (await this.own(repositoryId, digest)) ?? this.borrow(repositoryId, digest);
  }

  /** The repository's own link if it is in memory, without waiting. */
  remembered(repositoryId: RepositoryId, digest: Digest): BlobRecord | undefined {
    const key = contentKey(repositoryId, digest);
    return this.#memory.get(key) ?? this.#unwritten.peek(key);
  }

  /** The repository's own link. */
  async own(repositoryId: RepositoryId, digest: Digest): Promise<BlobRecord | undefined> {
    const known = this.remembered(repositoryId, digest);
    if (known) return known;
    const stored = await this.#deps.records.read({ kind: 'blob', repositoryId, digest });
    const record = stored === undefined ? undefined : parseBlobRecord(stored);
    if (record) this.#memory.set(contentKey(repositoryId, digest), record);
    return record;
  }

  /** A link borrowed from another repository becomes the repository's own. */
  async borrow(repositoryId: RepositoryId, digest: Digest): Promise<BlobRecord | undefined> {
    const link = await this.#deps.borrowedLinks.linkFor(repositoryId, digest, 'blob');
    if (!link) return undefined;
    const record = this.confirm(repositoryId, digest);
    this.recordShared(repositoryId, digest, link.size);
    return link.size === undefined ? record : { ...record, size: link.size };
  }

  /** Keeps in memory that the upstream delivered or confirmed the blob. For a stored blob {@link record} writes the link. */
  confirm(repositoryId: RepositoryId, digest: Digest): BlobRecord {
    const { clock, marks } = this.#deps;
    const key = contentKey(repositoryId, digest);
    const record = this.remembered(repositoryId, digest) ?? { firstServedAtMs: clock.now() };
    this.#memory.set(key, record);
    this.#kept.set(key, { mark: marks.next(), atMs: clock.now() });
    return record;
  }

  /**
   * Records, in the background, the link of a repository to a blob that another repository brought. If the store has no room for the
   * record, the link stays in memory: a client may ask for one blob in any number of repositories.
   */
  recordShared(repositoryId: RepositoryId, digest: Digest, size: number | undefined): void {
    const link = this.#remember(repositoryId, digest, size);
    if (this.#waitingForRoom >= maxWaitingForRoom) return;
    this.#waitingForRoom += 1;
    this.#deps.background.run('blob link', async () => {
      try {
        if (await this.#deps.makeRoom()) await this.#record({ repositoryId, digest }, link);
      } finally {
        this.#waitingForRoom -= 1;
      }
    });
  }

  /** Writes a link, and retries until the disk takes it. `size` is that of verified bytes, never a claim. */
  async record(repositoryId: RepositoryId, digest: Digest, size: number | undefined): Promise<void> {
    await this.#record({ repositoryId, digest }, this.#remember(repositoryId, digest, size));
  }

  async #record({ repositoryId, digest }: ContentQuestion, remembered: BlobRecord): Promise<void> {
    const key = contentKey(repositoryId, digest);
    const link = this.#memory.peek(key) ?? remembered;
    this.#unwritten.set(key, link);
    await this.#deps.background.retryUntilWritten('blob link', `blob link ${key}`, () =>
      this.#write(repositoryId, digest),
    );
    if (this.#unwritten.has(key)) this.#index(repositoryId, digest, link.size); // The disk takes it later.
  }

  async #write(repositoryId: RepositoryId, digest: Digest): Promise<void> {
    const key = contentKey(repositoryId, digest);
    const link = this.#memory.peek(key) ?? this.#unwritten.peek(key);
    if (!link) return; // It was removed meanwhile.
    await this.#deps.records.write({ kind: 'blob', repositoryId, digest }, link);
    if (!this.#memory.has(key) && !this.#unwritten.has(key)) return this.#removeAgain(repositoryId, digest);
    if (this.#unwritten.peek(key) === link) this.#unwritten.delete(key);
    this.#index(repositoryId, digest, link.size);
  }

  #index(repositoryId: RepositoryId, digest: Digest, size: number | undefined): void {
    const usedAtMs = this.#kept.peek(contentKey(repositoryId, digest))?.atMs;
    this.#deps.index.recordLink({ repositoryId, kind: 'blob', digest, mediaType: undefined, size, usedAtMs });
    this.#deps.background.run('eviction', () => this.#deps.space.tidy());
  }

  #remember(repositoryId: RepositoryId, digest: Digest, size: number | undefined): BlobRecord {
    const { firstServedAtMs } = this.confirm(repositoryId, digest);
    const link = { firstServedAtMs, ...(size !== undefined && { size }) };
    this.#memory.set(contentKey(repositoryId, digest), link);
    return link;
  }

  /** Forgets a link that was not kept since the mark. */
  forget(repositoryId: RepositoryId, digest: Digest, since = Infinity): void {
    const key = contentKey(repositoryId, digest);
    if ((this.#kept.peek(key)?.mark ?? 0) > since) return;
    this.#memory.delete(key);
    this.#unwritten.delete(key);
  }

  /** Records again which of these links were kept since the mark, as far as their blobs are stored: the others are recorded with their blobs. */
  recordAgain(keys: readonly RecordKey[], since: number): void {
    for (const key of keys) {
      if (key.kind !== 'blob' || this.#markOf(key) <= since) continue;
      this.#deps.background.run('blob link', () => this.#recordIfStored(key));
    }
  }

  #markOf({ repositoryId, digest }: ContentQuestion): number {
    return this.#kept.peek(contentKey(repositoryId, digest))?.mark ?? 0;
  }

  async #recordIfStored({ repositoryId, digest }: RecordKey & { readonly digest: Digest }): Promise<void> {
    const key = contentKey(repositoryId, digest);
    const link = this.#memory.peek(key) ?? this.#unwritten.peek(key);
    if (link && (await this.#deps.index.hasContent(digest))) await this.#record({ repositoryId, digest }, link);
  }

  /** Evicted while its record was written: the record goes too, unless a pull has kept the link again. */
  async #removeAgain(repositoryId: RepositoryId, digest: Digest): Promise<void> {
    const since = this.#deps.marks.last;
    const key = { kind: 'blob', repositoryId, digest } as const;
    await this.#deps.records.remove(key);
    this.recordAgain([key], since);
  }
}

/** The rules that say from which repositories a link may be borrowed. A reload of the configuration replaces them. */
export interface BorrowingRules {
  readonly access: Pick<Access, 'mayBeBorrowedFrom'>;
  readonly upstreams: Pick<UpstreamDirectory, 'find'>;
}

export interface BorrowedLinksDeps {
  readonly index: Pick<Index, 'borrowableLinks'>;
  readonly observer: Pick<Observer, 'internalError'>;
}

/**
 * Finds a link that a repository may borrow: one of its manifests names the digest, and another repository of the same upstream, which every
 * client may read now, is linked to it. No request is made here; if there is no such link, the caller asks the upstream.
 */
export class BorrowedLinks {
  readonly #deps: BorrowedLinksDeps;
  #rules: BorrowingRules | undefined;

  constructor(deps: BorrowedLinksDeps) {
    this.#deps = deps;
  }

  /** Sets the rules. Before the first call no link is borrowed. */
  follow(rules: BorrowingRules): void {
    this.#rules = rules;
  }

  async linkFor(repositoryId: RepositoryId, digest: Digest, kind: Link['kind']): Promise<Link | undefined> {
    const { index, observer } = this.#deps;
    const links = await unlessUnreadable(observer, 'index', () => index.borrowableLinks(repositoryId, digest, kind));
    for (const link of links ?? []) if (await this.#mayBeBorrowedFrom(link.repositoryId)) return link;
    return undefined;
  }

  #mayBeBorrowedFrom(source: RepositoryId): Promise<boolean> | boolean {
    const { upstreams, access } = this.#rules ?? {};
    const host = parseHostName(source.upstream);
    const label = host && upstreams?.find(host)?.label;
    return access !== undefined && label !== undefined && access.mayBeBorrowedFrom(source, label);
  }
}
