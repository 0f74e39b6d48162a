import type { ExportImages } from './administration/archives/export-images.ts';
import type { ImportImages } from './administration/archives/import-images.ts';
import type { Images } from './administration/images/image-details.ts';
import type { Purge } from './administration/purge.ts';
import type { AccessRules } from './access/access.ts';
import type { RunningDownload } from './downloads/run.ts';
import type { Mirror } from './mirror.ts';
import type { BlobStore } from './ports/blob-store.ts';
import type { Clock } from './ports/clock.ts';
import type { Memory } from './ports/memory.ts';
import type { Observer } from './ports/observer.ts';
import type { BlobRedirects, OtherCache } from './ports/other-caches.ts';
import type { DiskUse, RecordStore } from './ports/record-store.ts';
import type { RepositoryId } from './ports/repository-id.ts';
import type { SharedWork } from './ports/shared-work.ts';
import type { SharedWorkTracing } from './ports/tracing.ts';
import type { Catalogue, Index, TagOfRepository } from './ports/store-index.ts';
import type { UpstreamDirectory } from './ports/upstream.ts';
import type { RateLimits } from './routing/rate-limits.ts';
import type { PinnedContent } from './eviction/eviction.ts';
import type { SpaceDeps } from './eviction/space.ts';
import type { SpaceLimits } from './eviction/store-meter.ts';
import type { FreshnessRules } from './tags/freshness.ts';
import type { Digest } from '../oci/digest.ts';
import type { Tag } from '../oci/reference.ts';

export interface MirrorParts {
  readonly store: BlobStore;
  readonly records: RecordStore;
  readonly index: Index;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly rateLimits: RateLimits;
  readonly memory: Memory;
  /** What this replica shares with others: by default nothing. */
  readonly shared?: SharedWork;
  /** All other caches as one: asked when the upstream gives no answer. By default there is none. */
  readonly caches?: OtherCache;
  /** By default nothing is pinned. */
  readonly pins?: PinnedContent | undefined;
  /** By default nothing can be removed from a disk without a free byte. */
  readonly reserve?: SpaceDeps['reserve'];
  /** By default clients are never redirected. */
  readonly redirects?: BlobRedirects;
  /** By default requests are not traced. */
  readonly tracing?: SharedWorkTracing | undefined;
}

/** The rules that a reload may change. */
export interface MirrorRules {
  readonly upstreams: UpstreamDirectory;
  /** The name of the default upstream. */
  readonly defaultUpstream: string;
  readonly freshness: FreshnessRules;
  /** By the label of the upstream. */
  readonly freshnessOf: ReadonlyMap<string, FreshnessRules>;
  readonly accessOf: ReadonlyMap<string, AccessRules>;
}

export interface MirrorLimits {
  readonly limits: SpaceLimits;
  readonly keep: readonly string[];
  readonly unusedForMs: number;
  readonly verifyReads: boolean;
  readonly maxConcurrent: number;
  readonly maxAbandoned: number;
  readonly minBytesPerSecond: number;
  readonly attemptsWithoutProgress: number;
  /** Requests that are answered at the same time. */
  readonly maxRequests: number;
}

export interface TagConfirmation {
  readonly digest: Digest;
  readonly confirmedAtMs: number;
  readonly isFresh: boolean;
}

export interface AssembledMirror {
  readonly mirror: Mirror;
  /** Replaces the rules. Running downloads and everything in memory stay. */
  follow(rules: MirrorRules): void;
  /** Writes a manifest again whose file was put into quarantine, if it is still in memory. */
  storeAgain(digest: Digest): void;
  /** Evicts what is due, by age and by space. */
  sweep(): Promise<void>;
  /** The disk use of the store. */
  use(): Promise<DiskUse>;
  /** Purges what this index, which is that of the mirror, has. */
  purgeIn(index: Catalogue & Index): Purge;
  /** Tells what the cache has of an image, by the same index. */
  imagesIn(index: Catalogue): Images;
  /** Reads images from the store, for an archive. */
  readonly exports: Pick<ExportImages, 'plan' | 'files'>;
  /** Stores the images of an archive. */
  readonly imports: Pick<ImportImages, 'run'>;
  /** What a tag pointed at when it was last confirmed; undefined if it is not cached. No request is made. */
  digestOf(repositoryId: RepositoryId, tag: Tag): Promise<Digest | undefined>;
  /** Resolves when what was pulled until now is written, or could not be. */
  written(): Promise<void>;
  /** The downloads of blobs that run. */
  downloads(): readonly RunningDownload[];
  /** What memory has of a tag: when its upstream, named by its label, last confirmed it, and whether it is served without asking. */
  confirmationOf(tag: TagOfRepository, label: string): TagConfirmation | undefined;
  /** How many requests wait for an upstream, by its label. */
  waitingFor(label: string): number;
  /** Lets downloads and unwritten records end; cuts the downloads when `signal` aborts. */
  stop(options: { signal: AbortSignal }): Promise<void>;
}
