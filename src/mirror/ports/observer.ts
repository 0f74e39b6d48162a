import type { Digest } from '../../oci/digest.ts';
import type { FailureReason } from '../../oci/errors.ts';
import type { Tag } from '../../oci/reference.ts';
import type { CorruptionSource } from './blob-store.ts';
import type { CacheWord } from './cache-status.ts';
import type { RecordKey } from './record-store.ts';
import type { RepositoryId } from './repository-id.ts';
import type { EvictableContent } from './store-index.ts';
import type { BlobOrigin, RateLimitReport } from './upstream.ts';

export type ContentKind = 'manifest' | 'blob';

export type UpstreamRequestKind = ContentKind | 'tags' | 'referrers' | 'visibility' | 'ping' | 'token';

export type DownloadResult =
  | 'ok'
  | 'digest_mismatch'
  | 'short'
  | 'upstream_error'
  | 'disk_error'
  | 'no_room'
  | 'aborted';

/** What replicas ask each other for; `ping`: whether the secret is accepted. */
export type SiblingContentKind = ContentKind | 'tag' | 'visibility' | 'ping';

/** How a request to a sibling ended: `missing`: it does not have the content; else the reason that it gave no usable answer. */
export type SiblingOutcome = 'ok' | 'missing' | 'aborted' | FailureReason;

/**
 * How a sibling's request ended here: `refused`: not the secret; `rejected`: above a limit; `cut`: the answer broke off; `failed`: an error
 * of this replica.
 */
export type SiblingServedOutcome = 'ok' | 'missing' | 'refused' | 'rejected' | 'invalid' | 'cut' | 'failed';

/** A manifest, as its record or a tag's names it. */
export interface NamedManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
}

/** Limits that were reached; or what a client does: too many headers, broken HTTP, a TLS handshake that fails, reading or sending too slowly. */
export type RejectionReason = 'requests' | 'connections' | 'upstream' | 'headers' | 'malformed' | 'tls' | 'slow_client';

/** Receives every event, so that logs, metrics and tests see the same facts. It only counts and logs: nothing may depend on it. Must not throw. */
export interface Observer {
  answered(event: {
    readonly kind: ContentKind | 'tags' | 'referrers' | 'catalog' | 'ping' | 'other';
    readonly method: string;
    readonly status: number;
    readonly cache: CacheWord;
    /** The label of the upstream, or `none`. */
    readonly upstream: string;
    /** `<upstream>/<repository>`; undefined if the request names none. */
    readonly repository?: string | undefined;
    readonly bytes: number;
    readonly durationMs: number;
    readonly firstByteMs: number;
    /** The client left before everything was sent. */
    readonly aborted: boolean;
  }): void;
  /** A request or a connection was refused. */
  rejected(event: { readonly reason: RejectionReason }): void;
  /** A stored file was read and compared with its digest. */
  integrityChecked(event: { readonly isIntact: boolean; readonly bytes: number }): void;
  upstreamAnswered(event: {
    readonly upstream: string;
    readonly kind: UpstreamRequestKind;
    readonly method: 'GET' | 'HEAD' | 'POST';
    /** The HTTP status, or why there was none. */
    readonly outcome: number | string;
    readonly durationMs: number;
  }): void;
  /** A request is repeated after a transient error. */
  upstreamRetried(event: { readonly upstream: string; readonly reason: FailureReason }): void;
  /** An endpoint of an upstream gave no usable answer, after all retries. */
  upstreamFailed(event: { readonly upstream: string; readonly reason: FailureReason }): void;
  /** A secret with an end was fetched for an account of an upstream. */
  secretFetched(event: { readonly upstream: string; readonly account: string; readonly endsAtMs: number }): void;
  /** The circuit of one of an upstream's endpoints changed its state; see mirror/concurrency/circuit.ts. */
  circuitChanged(event: {
    readonly upstream: string;
    readonly endpoint: 'registry' | 'mirror';
    readonly state: 'closed' | 'open' | 'half-open';
  }): void;
  upstreamBytes(event: { readonly upstream: string; readonly kind: UpstreamRequestKind; readonly bytes: number }): void;
  /** Bytes of a blob came from one of its sources. */
  blobBytes(event: { readonly upstream: string; readonly source: BlobOrigin; readonly bytes: number }): void;
  /** An upstream reported an account's rate limit. */
  rateLimitSeen(report: RateLimitReport): void;
  downloadStarted(event: { readonly upstream: string }): void;
  /** How many downloads of an upstream wait for a slot, whenever that changes. */
  downloadsWaiting(event: { readonly upstream: string; readonly waiting: number }): void;
  downloadEnded(event: {
    readonly upstream: string;
    readonly result: DownloadResult;
    readonly bytes: number;
    readonly durationMs: number;
    /** The error, when the download failed. */
    readonly cause?: unknown;
  }): void;
  /** A download of a manifest from an upstream ended. A blob's end is told by `downloadEnded`. */
  manifestDownloaded(event: { readonly result: DownloadResult }): void;
  collapsed(event: { readonly kind: 'manifest' | 'blob' | 'tag' }): void;
  tagRevalidated(event: {
    readonly upstream: string;
    readonly result: 'not_modified' | 'changed' | 'gone' | 'rate_limited' | 'error';
  }): void;
  /** The upstream says that a cached tag points at another digest than before. */
  tagMoved(event: {
    readonly repositoryId: RepositoryId;
    readonly tag: Tag;
    readonly from: Digest;
    readonly to: NamedManifest;
  }): void;
  servedStale(event: { readonly upstream: string; readonly reason: string }): void;
  /** This replica asked a sibling. A blob counts when its headers are there. */
  siblingAsked(event: { readonly kind: SiblingContentKind; readonly outcome: SiblingOutcome }): void;
  /** A sibling asked this replica, and the answer has ended. */
  siblingServed(event: { readonly kind: SiblingContentKind | 'other'; readonly outcome: SiblingServedOutcome }): void;
  contentStored(event: { readonly kind: ContentKind; readonly bytes: number }): void;
  /** A manifest was stored in a repository that did not have it. */
  imageStored(event: { readonly repositoryId: RepositoryId; readonly manifest: NamedManifest }): void;
  evicted(event: {
    readonly reason: 'lru' | 'unused' | 'purge';
    readonly bytes: number;
    /** What left the local store, with the records that referred to it; absent where it left the shared bucket. */
    readonly content?: Pick<EvictableContent, 'isManifest'> & { readonly records: readonly RecordKey[] };
  }): void;
  /** A stored file does not have the size or the bytes that its digest names. */
  corruptionFound(event: { readonly digest: Digest; readonly source: CorruptionSource }): void;
  /** The index has everything again that the store has. */
  indexRebuilt(): void;
  /** A failure that is not reported to any client. */
  internalError(event: { readonly part: string; readonly cause: unknown }): void;
}

/** Receives what becomes of the events that are told of, and of the webhooks. It only counts and logs. Must not throw. */
export interface EventsObserver {
  eventTold(event: { readonly type: string }): void;
  /** Events that webhooks do not get; `queue_full`: one webhook. */
  eventsDropped(event: {
    readonly reason: 'queue_full' | 'disk' | 'backlog';
    readonly count: number;
    readonly webhook?: string;
  }): void;
  /** Lines, or all of a file, that could not be read, and are skipped. */
  eventQueueDamaged(event: { readonly segment: number; readonly lines: number; readonly cause?: unknown }): void;
  /** The disk did not do what the queue of events needs. */
  eventQueueFailed(event: { readonly cause: unknown }): void;
  /** A webhook was sent an event; `failed`: it is sent again; `given_up`: not any more; `gone`: no event is. */
  webhookAnswered(event: {
    readonly webhook: string;
    readonly result: 'delivered' | 'failed' | 'given_up' | 'gone';
  }): void;
  /** At the start; when a webhook does not take an event, and when it does again; when it wants no more. */
  webhookChanged(event: {
    readonly webhook: string;
    readonly state: 'known' | 'failing' | 'up' | 'stopped';
    /** A status, or why there is none. */
    readonly reason?: string;
  }): void;
}

/** `read`: a client waits for it. `write`: uploads, and whatever else no client waits for. */
export type BucketUse = 'read' | 'write';

/** Receives the events of the shared bucket. It only counts and logs: nothing may depend on it. Must not throw. */
export interface BucketObserver {
  /** The shared bucket answered a call, or did not. */
  bucketAnswered(event: {
    /** As the S3 API names it. */
    readonly operation: string;
    /** `ok`, `absent`, or why there was no usable answer. */
    readonly outcome: string;
    readonly durationMs: number;
  }): void;
  /** The bucket answers again (`closed`), or is not asked for a while; then the state says why. */
  bucketChanged(event: { readonly kind: BucketUse; readonly state: string; readonly cause?: unknown }): void;
  /** An upload to the bucket is over, or is to be tried again. */
  uploadEnded(event: {
    readonly result: UploadResult;
    /** Of content; 0 for a record. */
    readonly bytes: number;
    readonly cause?: unknown;
  }): void;
}

/**
 * How one try of an upload ended.
 *
 *     ok        it is in the bucket
 *     present   it was there already
 *     gone      it is no longer in the local store
 *     retried   the bucket gave no usable answer: it is tried again
 *     failed    the bucket refused it for good, or the local file is damaged
 *     dropped   too many uploads wait already
 */
export type UploadResult = 'ok' | 'present' | 'gone' | 'retried' | 'failed' | 'dropped';

/** What happened to a lease: taken by this replica, held by another that was waited for, taken over from one that failed, lost to another. */
export type LeaseEvent = 'taken' | 'waited' | 'taken_over' | 'lost';

/** Receives the events of what replicas share. It only counts and logs: nothing may depend on it. Must not throw. */
export interface ClusterObserver {
  /** A command of Redis was answered, or failed. */
  redisAnswered(event: {
    /** The name of the connection, such as `cluster`. */
    readonly connection: string;
    /** A name from a fixed list. */
    readonly command: string;
    /** `ok`, `down` if it was not sent because Redis is down, or why there is no answer. */
    readonly outcome: string;
    readonly durationMs: number;
  }): void;
  /** A connection to Redis changed its state; also at its start. */
  redisChanged(event: {
    readonly connection: string;
    readonly state: 'connecting' | 'up' | 'down';
    readonly reason?: string;
    /** A `maxmemory-policy` that may evict what it should keep. */
    readonly harmfulPolicy?: string;
    /** Without anything secret. */
    readonly cause?: unknown;
  }): void;
  /** How many replicas are known, this one included. */
  replicasKnown(event: { readonly replicas: number }): void;
  lease(event: { readonly kind: 'content' | 'tag'; readonly what: LeaseEvent }): void;
}

/** A call of the local disk. `change`: a file or folder is made, renamed or removed; `status`: also of the disk, and permissions. */
export type DiskOperation = 'open' | 'read' | 'write' | 'sync' | 'change' | 'status';

/**
 * How a call of the disk ended.
 *
 *     ok           also "not there", "exists already" and "name too long", which clients can cause
 *     full         no space, no inodes, or a quota that is used up
 *     readonly     it is mounted read-only
 *     denied       the process has no permission
 *     descriptors  no file descriptor is free
 *     io           the disk failed
 *     other        any other error
 */
export type DiskOutcome = 'ok' | 'full' | 'readonly' | 'denied' | 'descriptors' | 'io' | 'other';

/** What a query of the index is for. `borrow`: a link, for a client; `write`: a transaction of buffered writes. */
export type IndexOperation = 'borrow' | 'find' | 'list' | 'evict' | 'write';

/** Receives the durations of the local store. It only counts: nothing may depend on it. Must not throw. */
export interface StoreObserver {
  /** A call of the disk ended. The duration includes the wait for a thread. */
  diskAnswered(event: {
    readonly operation: DiskOperation;
    readonly outcome: DiskOutcome;
    readonly durationMs: number;
  }): void;
  /** A query of the index in SQLite ended, without the time that it waited for buffered writes. */
  indexAnswered(event: { readonly operation: IndexOperation; readonly durationMs: number }): void;
}
