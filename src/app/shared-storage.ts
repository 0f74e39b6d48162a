import type { SharedBucket } from '../cluster/shared-work.ts';
import type { Config } from '../config/schema.ts';
import type { MirrorParts } from '../mirror/mirror-parts.ts';
import type { Clock } from '../mirror/ports/clock.ts';
import type { Memory } from '../mirror/ports/memory.ts';
import type { BucketObserver, Observer } from '../mirror/ports/observer.ts';
import { BucketStorage, bucketSource, sharedByBucket } from '../storage/s3/bucket-storage.ts';
import { partOf, type Part } from './lifecycle.ts';
import type { Stores } from './stores.ts';

export interface SharedStorageDeps {
  readonly stores: Pick<Stores, 'store' | 'records'>;
  readonly memory: Memory;
  readonly clock: Clock;
  readonly observer: BucketObserver & Pick<Observer, 'internalError'>;
}

/** What the rest of the program uses of the bucket. */
export interface SharedStorage {
  /** Starts and stops its uploads. */
  readonly part: Part;
  /** As the replicas of a cluster use it; undefined without a bucket. */
  readonly bucket: (SharedBucket & Pick<BucketStorage, 'cache'>) | undefined;
  /** Replaces parts of a mirror. */
  readonly parts: Partial<Pick<MirrorParts, 'records' | 'shared' | 'caches'>>;
  /** For readyz; undefined without a bucket. A bucket that fails makes no replica unready. */
  state(): ReturnType<BucketStorage['state']> | undefined;
  uploadsQueued(): number;
}

/** Where there is no bucket. */
const noBucket: SharedStorage = {
  part: partOf('shared storage', {}),
  bucket: undefined,
  parts: {},
  state: () => undefined,
  uploadsQueued: () => 0,
};

/** The bucket of `storage.shared`; without that key nothing. */
export function createSharedStorage({ storage }: Config, deps: SharedStorageDeps): SharedStorage {
  const { shared: settings, path } = storage;
  if (!settings) return noBucket;
  const { stores: local, memory, clock, observer } = deps;
  const bucket = new BucketStorage({ settings, path, local, memory, clock, observer });
  return {
    part: bucket,
    bucket: { source: bucketSource(bucket), cache: bucket.cache, stored: (question) => bucket.stored(question) },
    parts: { records: bucket.records, shared: sharedByBucket(bucket), caches: bucket.cache },
    state: () => bucket.state(),
    uploadsQueued: () => bucket.queued,
  };
}
