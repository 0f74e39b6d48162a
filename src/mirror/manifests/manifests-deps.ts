import type { BorrowedLinks } from '../access/links.ts';
import type { Background } from '../concurrency/background.ts';
import type { Marks } from '../concurrency/remembered.ts';
import type { UpstreamWaiters } from '../concurrency/upstream-waiters.ts';
import type { Space } from '../eviction/space.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import type { Clock } from '../ports/clock.ts';
import type { Memory } from '../ports/memory.ts';
import type { Observer } from '../ports/observer.ts';
import type { OtherCache } from '../ports/other-caches.ts';
import type { RecordStore } from '../ports/record-store.ts';
import type { SharedWork } from '../ports/shared-work.ts';
import type { Index } from '../ports/store-index.ts';
import type { SharedWorkTracing } from '../ports/tracing.ts';
import type { FreshnessPolicies } from '../tags/freshness.ts';

/** What the manifests of a mirror need. */
export interface ManifestsDeps {
  readonly store: BlobStore;
  readonly records: RecordStore;
  readonly index: Index;
  readonly borrowedLinks: Pick<BorrowedLinks, 'linkFor'>;
  readonly background: Background;
  readonly waiters: Pick<UpstreamWaiters, 'wait'>;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Shared with the links of blobs. */
  readonly marks: Marks;
  readonly memoryBytes: number;
  /** For manifests that are being loaded. */
  readonly memory: Memory;
  /** Evicts until the store, including what is indexed but not stored yet, is below its bound. @returns whether it is. */
  readonly makeRoom: () => Promise<boolean>;
  /** Lets the index and the records forget content that is missing, while nothing else is evicted. */
  readonly forgetIfMissing: Space['forgetIfMissing'];
  readonly policies: FreshnessPolicies;
  readonly shared: Pick<SharedWork, 'manifest' | 'readable' | 'stored'>;
  /** Asked when the upstream gives no answer. */
  readonly caches: Pick<OtherCache, 'manifest'>;
  readonly tracing?: SharedWorkTracing | undefined;
}
