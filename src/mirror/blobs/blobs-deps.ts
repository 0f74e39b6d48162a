import type { BlobLinks } from '../access/links.ts';
import type { RatedBodiesDeps, UpstreamWaiters } from '../concurrency/upstream-waiters.ts';
import type { Downloads } from '../downloads/downloads.ts';
import type { Space } from '../eviction/space.ts';
import type { Manifests } from '../manifests/manifests.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { OtherCache } from '../ports/other-caches.ts';
import type { SharedWork } from '../ports/shared-work.ts';
import type { Index } from '../ports/store-index.ts';
import type { SharedWorkTracing } from '../ports/tracing.ts';
import type { Relays } from '../relays/relays.ts';
import type { FreshnessPolicies } from '../tags/freshness.ts';
import type { StoredBlobs } from './served-blob.ts';
import type { UpstreamBlobs } from './upstream-blobs.ts';

/** What the blobs of a mirror need. */
export interface BlobsDeps extends RatedBodiesDeps {
  readonly store: Pick<BlobStore, 'quarantine'>;
  readonly storedBlobs: StoredBlobs;
  readonly links: BlobLinks;
  readonly manifests: { readonly promisedSizes: Pick<Manifests['promisedSizes'], 'get'> };
  readonly downloads: Downloads;
  readonly waiters: Pick<UpstreamWaiters, 'wait'> & RatedBodiesDeps['waiters'];
  readonly index: Index;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly policies: FreshnessPolicies;
  readonly relays: Relays;
  readonly shared: Pick<SharedWork, 'blobSources' | 'readable'>;
  readonly caches: Pick<OtherCache, 'openBlob'>;
  readonly space: Pick<Space, 'couldHold'>;
  /** Hash every stored blob again while it is read. */
  readonly verifyReads: boolean;
}

/** What is needed to ask an upstream whether it has a blob. */
export interface BlobConfirmationsDeps {
  readonly upstreamBlobs: Pick<UpstreamBlobs, 'confirm' | 'head' | 'throwIfMissing'>;
  readonly storedBlobs: Pick<StoredBlobs, 'open'>;
  readonly links: BlobLinks;
  readonly index: Pick<Index, 'whenComplete' | 'hasContent'>;
  readonly observer: Pick<Observer, 'internalError'>;
  readonly waiters: Pick<UpstreamWaiters, 'wait'>;
  readonly clock: Clock;
  /** Asked when the upstream gives no answer. */
  readonly caches: Pick<OtherCache, 'openBlob'>;
  readonly tracing?: SharedWorkTracing | undefined;
}
