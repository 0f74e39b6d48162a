import type { Readable } from 'node:stream';
import type { Digest } from '../oci/digest.ts';
import type { HostName } from '../oci/host-name.ts';
import type { Descriptor } from '../oci/manifest.ts';
import type { MediaType } from '../oci/media-types.ts';
import type { DiskUse } from './eviction/disk-use.ts';
import type { Reference, Repository, Tag } from '../oci/reference.ts';

/** What the mirror needs from the clock. Tests pass one they can turn by hand. */
export interface Clock {
  /** Wall clock, in milliseconds since the epoch: for what is stored, shown or compared with a date. It may jump back and forth. */
  now(): number;
  /** Monotonic clock, in milliseconds since some moment of this process: for waiting, expiry in memory and durations. */
  monotonicMs(): number;
}

/** A repository of one upstream: everything the mirror remembers is remembered under one of these. */
export interface RepositoryId {
  /** The registry's name as clients write it, such as `docker.io`. */
  readonly upstream: string;
  readonly repository: Repository;
}

/** Whoever waits may stop waiting. */
export interface Waiting {
  readonly signal: AbortSignal;
}

/** Bytes of the process's one memory budget. */
export interface MemoryReservation {
  readonly bytes: number;
  /** Reserves more, or returns some. Less is always possible. @returns false, and changes nothing, when the budget has no room for more. */
  tryResize(bytes: number): boolean;
  /** Returns all of it. A second call does nothing. */
  release(): void;
}

/** How a reservation is made that does not wait. */
export interface MemoryUse {
  /** What only makes things faster (caches, large buffers) may fill this part of the budget, so that what is needed finds room. */
  readonly isOptional?: boolean;
}

/** The process's one memory budget. */
export interface Memory {
  readonly maxBytes: number;
  /** How many wait for memory. */
  readonly waiting: number;
  /** @returns undefined when the budget has no room, or somebody waits for it already. */
  tryReserve(bytes: number, use?: MemoryUse): MemoryReservation | undefined;
  /** Reserves a small amount that is needed whatever the others hold; it may exceed the budget. */
  take(bytes: number): MemoryReservation;
  /**
   * Reserves as soon as there is room, in order of arrival. Who asks for more than the whole budget is granted the whole of it, alone.
   * @throws UpstreamError busy when too many wait already; the signal's reason when it aborts.
   */
  reserve(bytes: number, options: ReserveMemory): Promise<MemoryReservation>;
}

/** How a reservation is made that waits for its turn. */
export interface ReserveMemory extends Waiting {
  /** For bytes that are in memory already: before those who have yet to load theirs. */
  readonly isLoaded?: boolean;
  /** Of a part of the budget: it does not wait for what others hold of that part, only for the budget. */
  readonly isGuaranteed?: boolean;
}

/** Waits for all tags of a list, and may look at its pages as they come. */
export interface TagsWaiting extends Waiting {
  readonly onPage?: ((page: PageOfTags) => void) | undefined;
}

/** As the registry sent it: in any order, and perhaps with what is no tag. */
export interface PageOfTags {
  readonly tags: readonly string[];
  /** Whether the list begins here: also where it is read anew after a failure. What came before then counts no more. */
  readonly isFirst: boolean;
  readonly hasNext: boolean;
}

// ── asking the real registry ────────────────────────────────────────────────────────────────────────────────────────

/**
 * One registry the mirror pulls from. Each verb resolves with what the registry answered, throws
 * OciError where its answer was "no" (404: MANIFEST_UNKNOWN, BLOB_UNKNOWN or NAME_UNKNOWN; 403 to an anonymous
 * caller: DENIED), and UpstreamError where no usable answer came.
 */
export interface Upstream {
  /** As clients write it; for a pattern entry the name that matched. */
  readonly name: string;
  /** The key of its entry in the configuration: the only form that may label a metric. */
  readonly label: string;
  /** How many connections to one of its hosts there may be. */
  readonly maxConnections: number;
  headManifest(repository: Repository, reference: Reference, options: Waiting): Promise<ManifestHead>;
  /** Never more than 4 MiB. By digest the bytes are verified; by tag they are hashed, and must match what the headers say. */
  getManifest(repository: Repository, reference: Reference, options: Waiting): Promise<FetchedManifest>;
  /** Where HEAD is refused (401, 405), a GET of one byte. @returns the size where the registry tells it. */
  headBlob(repository: Repository, digest: Digest, options: Waiting): Promise<{ readonly size: number | undefined }>;
  /**
   * Opens a blob for reading; resolves as soon as the headers are there. Nothing is verified yet.
   * A range may be answered with the whole blob: see `offset`.
   */
  openBlob(
    repository: Repository,
    digest: Digest,
    options: Waiting & { readonly range?: ByteRange },
  ): Promise<OpenedBlob>;
  /** All tags, following the registry's pages. */
  listTags(repository: Repository, options: TagsWaiting): Promise<readonly string[]>;
  /** All referrers of `digest`, unfiltered, by the referrers API or, where the registry has none, by the tag schema. */
  listReferrers(repository: Repository, digest: Digest, options: Waiting): Promise<readonly Descriptor[]>;
  /**
   * Whether an anonymous caller may read a repository: asked as nobody in particular, by what costs no pull. A repository that does not
   * exist is hidden as well.
   * @param reference what of it is wanted, where that is a manifest.
   */
  askVisibility(
    repository: Repository,
    reference: Reference | undefined,
    options: Waiting,
  ): Promise<RepositoryVisibility>;
  /**
   * Told when what came for a digest is not what that names: of the addresses an upstream has, another one than sent it is asked for it
   * from then on.
   */
  failedVerification(digest: Digest): void;
}

export type RepositoryVisibility = 'public' | 'hidden';

/** What a registry says of a manifest without sending it. Some leave out the digest or the length. */
export interface ManifestHead {
  readonly digest: Digest | undefined;
  readonly mediaType: MediaType | undefined;
  readonly size: number | undefined;
  /** Where HEAD does not work there: the manifest, which had to be fetched. */
  readonly fetched?: FetchedManifest;
}

export interface FetchedManifest {
  readonly digest: Digest;
  readonly mediaType: MediaType;
  readonly bytes: Uint8Array;
}

/** First and last byte, both included, as in RFC 9110 §14.1.2. */
export interface ByteRange {
  readonly start: number;
  /** Absent: to the end. */
  readonly end?: number | undefined;
}

export interface OpenedBlob {
  /** Size of the whole blob, where the upstream told it. */
  readonly size: number | undefined;
  /** Where `body` begins: the start of the range asked for, or 0 when the upstream sent the whole. */
  readonly offset: number;
  /** Destroying it ends the exchange. It errors with an UpstreamError. Its pieces are the reader's: it may free their memory. */
  readonly body: Readable;
}

/** The upstream that a name stands for. Only configured names find one. */
export interface UpstreamDirectory {
  find(name: HostName): Upstream | undefined;
}

// ── keeping it ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** Bytes that are read by position, one reader at a time: a stored blob, or one still arriving. */
export interface ByteSource extends AsyncDisposable {
  /**
   * Fills the beginning of `into` from `position` on, waiting until there is something to read. Disposing ends the wait.
   * @returns how many bytes were read; 0 at the end.
   */
  read(into: Uint8Array, position: number): Promise<number>;
  /**
   * What `read` would read, where it lies in memory already: nothing is copied.
   * @returns undefined when it has to be read.
   */
  lend?(position: number, maxBytes: number): Promise<Loan | undefined>;
}

/** Bytes that may be looked at until the loan ends. It must end, once and for all, when nobody will look at them any more. */
export interface Loan {
  readonly pieces: readonly Uint8Array[];
  readonly bytes: number;
  end(): void;
}

/** Verified content of known size. */
export interface StoredBlob extends ByteSource {
  readonly size: number;
}

/** Content under its digest. Whatever `open` yields was verified on the way in. */
export interface BlobStore {
  /**
   * @param expectedSize what the link says; a file of another size is set aside, counted, and not served.
   * @returns undefined when it is not stored.
   */
  open(digest: Digest, expectedSize?: number): Promise<StoredBlob | undefined>;
  /** All bytes of a small blob (a manifest), verified again; content that does not match its name is set aside. */
  readAll(digest: Digest, maxBytes: number): Promise<Uint8Array | undefined>;
  /**
   * A place for a blob that is about to arrive. Nothing of it is visible before `commit`.
   * @param upstream the name of who sends it.
   */
  create(digest: Digest, upstream: string): Promise<IncomingBlob>;
  /**
   * What an interrupted download of the blob from this upstream left: the caller's from now on. Unverified bytes of one upstream are
   * never gone on with from another.
   * @returns undefined where there is nothing to go on with.
   */
  takeInterrupted(digest: Digest, upstream: string): Promise<InterruptedBlob | undefined>;
  /**
   * Removes what interrupted downloads left: all from before `leftBeforeMs`, and of the rest the oldest, until `bytes` are free.
   * @returns how many bytes that freed.
   */
  dropInterrupted(options: { readonly bytes: number; readonly leftBeforeMs: number }): Promise<number>;
  /** Makes `bytes` visible under `digest`, which the caller has verified. */
  put(digest: Digest, bytes: Uint8Array): Promise<void>;
  remove(digest: Digest): Promise<void>;
  /** Takes away content that is not what its name promises, and counts it. */
  setAside(digest: Digest, source: CorruptionSource): Promise<void>;
  /** Whether somebody reads it just now: such a blob is not evicted. */
  isBeingRead(digest: Digest): boolean;
  /** Everything stored, in no order. */
  list(): AsyncIterable<{ readonly digest: Digest; readonly size: number; readonly modifiedAtMs: number }>;
  /** Bytes that count against the cap though they are no visible content: downloads, running or interrupted, and what was set aside. */
  pendingBytes(): number;
  /** Those of them that {@link BlobStore.dropInterrupted} can free. */
  interruptedBytes(): number;
  /** The files that these bytes are in. */
  pendingFiles(): number;
  /** Free bytes of the disk the store is on. */
  freeBytes(): Promise<number>;
}

/** What the first bytes of an unfinished blob were when they were brought to the disk. */
export interface Mark {
  readonly bytes: number;
  /** Of these bytes. */
  readonly digest: Digest;
}

/**
 * A blob being written. The bytes can be read back by position while it grows.
 * Disposing closes the file, and removes it unless it was committed or left.
 */
export interface IncomingBlob extends AsyncDisposable {
  /** Appends; one call at a time. @throws the file system's error. */
  append(chunks: readonly Uint8Array[]): Promise<void>;
  read(into: Uint8Array, position: number): Promise<number>;
  /**
   * Brings what is appended to the disk and then notes the mark: from here on it outlives the process. It may run beside `append`,
   * one call at a time. A mark that cannot be made is reported, and the one before it stands. Never rejects.
   */
  mark(mark: Mark): Promise<void>;
  /**
   * Leaves all that is written to {@link BlobStore.takeInterrupted}, if the last mark speaks of all. It only can be read then. Never rejects.
   * @param mark is made before, without waiting for the marks of others.
   */
  leave(mark?: Mark): Promise<void>;
  /** Forgets all that is written, and its mark. @throws the file system's error; then it can only be disposed. */
  clear(): Promise<void>;
  /** fsync, rename, fsync of the folder. The caller has verified the digest. */
  commit(): Promise<void>;
}

/** What an interrupted download left. Whoever goes on with it reads it back first: no more than the mark promises is known of it. */
export interface InterruptedBlob {
  readonly incoming: IncomingBlob;
  /** Of all there is. */
  readonly mark: Mark;
}

/** Names one record of the store. */
export type RecordKey =
  | { readonly kind: 'tag'; readonly of: RepositoryId; readonly tag: Tag }
  | { readonly kind: 'manifest' | 'blob' | 'referrers'; readonly of: RepositoryId; readonly digest: Digest }
  | { readonly kind: 'tag-list' | 'visibility'; readonly of: RepositoryId };

/** Small JSON documents that must survive. Each appears whole or not at all. */
export interface RecordStore {
  /** @returns undefined when it was never written, or can't be parsed. */
  read(key: RecordKey): Promise<unknown>;
  write(key: RecordKey, value: object): Promise<void>;
  remove(key: RecordKey): Promise<void>;
  /** Every record, in no order. Once it was walked to its end, {@link use} knows of everything. */
  list(): AsyncIterable<RecordKey>;
  /** What is known of the records' disk use: their folders, and the records that no index counts (neither links nor tags). */
  use(): DiskUse;
}

// ── the fast view of it ─────────────────────────────────────────────────────────────────────────────────────────────

export interface IndexedContent {
  readonly digest: Digest;
  readonly size: number;
  readonly isManifest: boolean;
  /** What a manifest names; empty for a blob. */
  readonly names: readonly Digest[];
  readonly usedAtMs: number;
}

export interface Link {
  readonly of: RepositoryId;
  readonly kind: 'manifest' | 'blob';
  readonly digest: Digest;
  /** Of a manifest. */
  readonly mediaType: MediaType | undefined;
  readonly size: number | undefined;
}

export interface Totals {
  /** Of visible content, without what is arriving or set aside. */
  readonly bytes: number;
  readonly manifests: number;
  readonly blobs: number;
  /** The blocks of the disk that it takes. */
  readonly diskBytes: number;
  /** Those of content that repositories named by `storage.keep` are linked to. It is never evicted. */
  readonly keptBytes: number;
  /** Links and tags: each is a small file. */
  readonly records: number;
}

/**
 * A view of the store: sizes, last use, totals, links and tags. It never decides that something cached does not exist.
 * Verbs that only note something never fail the caller: what an index has forgotten, its rebuild finds again.
 */
export interface Index {
  noteContent(content: IndexedContent): void;
  noteUse(digest: Digest, atMs: number): void;
  noteLink(link: Link): void;
  noteTag(of: RepositoryId, tag: Tag, digest: Digest): void;
  /** Drops a tag whose record is gone. */
  forgetTag(of: RepositoryId, tag: Tag): void;
  /**
   * Links that `of` may borrow: a manifest linked in `of` names `digest`, and these repositories of the same upstream are linked to it.
   * A few of them, where there are many.
   */
  borrowableLinks(of: RepositoryId, digest: Digest, kind: Link['kind']): Promise<readonly Link[]>;
  /** Whether it knows content of this digest, whoever brought it. */
  hasContent(digest: Digest): Promise<boolean>;
  /** Repositories with cached content, `<upstream>/<repository>`, in lexical order, after `last`, at most `limit`. */
  repositories(options: { readonly last: string | undefined; readonly limit: number }): Promise<readonly string[]>;
  totals(): Promise<Totals>;
  /**
   * What may be evicted, least recently used first: content that no stored manifest names, and no repository that is kept is linked to.
   * It costs what it returns, however much is kept.
   */
  evictable(options: {
    readonly limit: number;
    /** Goes on behind this one; absent: from the beginning. */
    readonly after?: EvictionPosition | undefined;
  }): Promise<readonly EvictableContent[]>;
  /** Since when it has seen every use: what was not used since may have been used before. */
  watchingSinceMs(): Promise<number>;
  /** Whether something is stored that a record speaks of: the content of its digest or tag, or any of its repository. */
  isNeeded(key: RecordKey): Promise<boolean>;
  /** Bytes of the index's own files on the disk; 0 where it is in memory. */
  fileBytes(): Promise<number>;
  /** Drops a digest from the view. @returns the records that spoke of it. */
  forget(digest: Digest): Promise<readonly RecordKey[]>;
  /** Whether the totals are those of the store. An index that was made anew counts first what lies there. */
  isCounted(): Promise<boolean>;
  /** Whether the view has everything the store has. While a rebuild is under way, nobody knows yet who holds what, and who names it. */
  isComplete(): Promise<boolean>;
  /** Resolves once the view is complete: at once, or when a rebuild that is under way has ended. */
  whenComplete(options: Waiting): Promise<void>;
}

/** Whose turn it is, in the order in which content is evicted. */
export type EvictionPosition = Pick<EvictableContent, 'usedAtMs' | 'digest'>;

export interface EvictableContent {
  readonly digest: Digest;
  readonly size: number;
  /** The blocks of the disk that it takes. */
  readonly diskBytes: number;
  readonly isManifest: boolean;
  readonly usedAtMs: number;
}

// ── telling what happened ───────────────────────────────────────────────────────────────────────────────────────────

export type ContentKind = 'manifest' | 'blob';
export type UpstreamRequestKind = ContentKind | 'tags' | 'referrers' | 'visibility' | 'ping' | 'token';
/** Who met content that is not what its name promises: a reader, or the scrubber. */
export type CorruptionSource = 'read' | 'scrub';
export type DownloadResult =
  | 'ok'
  | 'digest_mismatch'
  | 'short'
  | 'upstream_error'
  | 'disk_error'
  | 'no_room'
  | 'aborted';

/**
 * Where an answer came from, in one word.
 *
 *     hit          from the cache, the upstream was not asked
 *     revalidated  from the cache, after the upstream confirmed the tag
 *     stale        from the cache, because the upstream gave no answer (or says it is gone)
 *     collapsed    from an upstream request that somebody else had already started
 *     miss         from the upstream, by a request of its own
 *     negative     a remembered "not found"
 *     none         nothing to do with the cache: a ping, a bad request
 */
export type CacheWord = 'hit' | 'revalidated' | 'stale' | 'collapsed' | 'miss' | 'negative' | 'none';

export interface CacheStatus {
  readonly word: CacheWord;
  /** What the upstream answered, where it was asked and did. */
  readonly upstreamStatus?: number | undefined;
  /** Whether what came from the upstream is being kept. */
  readonly stored?: boolean;
  /** Why it is stale: a Trouble or `gone`. */
  readonly reason?: string;
}

/** Told about every decision, so that logs, metrics and tests see the same facts. Must not throw. */
export interface Observer {
  answered(event: {
    readonly kind: ContentKind | 'tags' | 'referrers' | 'catalog' | 'ping' | 'other';
    readonly method: string;
    readonly status: number;
    readonly cache: CacheWord;
    /** The label of the upstream, or `none`. */
    readonly upstream: string;
    readonly bytes: number;
    readonly durationMs: number;
    readonly firstByteMs: number;
    /** The client left before everything was sent. */
    readonly aborted: boolean;
  }): void;
  /** Refused because it was too much. */
  rejected(event: { readonly reason: 'requests' | 'connections' | 'headers' | 'upstream' }): void;
  upstreamAnswered(event: {
    readonly upstream: string;
    readonly kind: UpstreamRequestKind;
    readonly method: 'GET' | 'HEAD' | 'POST';
    /** The HTTP status, or why there was none. */
    readonly outcome: number | string;
    readonly durationMs: number;
  }): void;
  /** Whether one of an upstream's endpoints is asked at all; see upstream/circuit.ts. */
  circuitChanged(event: {
    readonly upstream: string;
    readonly endpoint: 'registry' | 'mirror';
    readonly state: 'closed' | 'open' | 'half-open';
  }): void;
  upstreamBytes(event: { readonly upstream: string; readonly kind: UpstreamRequestKind; readonly bytes: number }): void;
  /** What an upstream said is left of an account's allowance (Docker Hub: pulls in a sliding window). */
  rateLimitSeen(event: {
    readonly upstream: string;
    /** Tells the accounts of an upstream apart without naming them: `basic-1`, `anonymous`. */
    readonly account: string;
    readonly limit: number;
    readonly remaining: number;
    readonly windowSeconds: number | undefined;
  }): void;
  downloadStarted(event: { readonly upstream: string }): void;
  /** How many downloads of an upstream wait for a place, whenever that changes. */
  downloadsWaiting(event: { readonly upstream: string; readonly waiting: number }): void;
  downloadEnded(event: {
    readonly upstream: string;
    readonly result: DownloadResult;
    readonly bytes: number;
    readonly durationMs: number;
    /** What to tell the operator when it did not end well. */
    readonly cause?: unknown;
  }): void;
  collapsed(event: { readonly kind: 'manifest' | 'blob' | 'tag' }): void;
  tagRevalidated(event: {
    readonly upstream: string;
    readonly result: 'not_modified' | 'changed' | 'gone' | 'error';
  }): void;
  servedStale(event: { readonly upstream: string; readonly reason: string }): void;
  contentStored(event: { readonly kind: ContentKind; readonly bytes: number }): void;
  evicted(event: { readonly reason: 'lru' | 'unused' | 'purge'; readonly bytes: number }): void;
  /** A stored file whose size or bytes are not what its name promises. */
  corruptionFound(event: { readonly digest: Digest; readonly source: CorruptionSource }): void;
  /** Everything stored has been read once more. */
  scrubbed(event: { readonly bytes: number; readonly durationMs: number }): void;
  /** Something failed that no client has to hear of. */
  trouble(event: { readonly part: string; readonly cause: unknown }): void;
}
