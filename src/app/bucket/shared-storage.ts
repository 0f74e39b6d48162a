import { join } from 'node:path';
import { BucketCount, type BucketCountDeps } from '../../cluster/bucket/bucket-count.ts';
import type { SharedBucket } from '../../cluster/shared-work.ts';
import type { Config } from '../../config/schema.ts';
import type { MirrorParts } from '../../mirror/mirror-parts.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Memory } from '../../mirror/ports/memory.ts';
import type { BucketObserver, Observer, StoreObserver } from '../../mirror/ports/observer.ts';
import type { BlobRedirects } from '../../mirror/ports/other-caches.ts';
import { BucketStorage, bucketSource, sharedByBucket } from '../../storage/s3/bucket-storage.ts';
import { DurableFolders } from '../../storage/filesystem/durable-folders.ts';
import { nodeFiles } from '../../storage/filesystem/file-system.ts';
import { partOf, type Part } from '../lifecycle.ts';
import { SharedSweep, type SharedSweepDeps, type SweptBucket } from './sweep.ts';
import type { Stores } from '../stores.ts';

export interface SharedStorageDeps {
  readonly stores: Pick<Stores, 'store' | 'records'>;
  readonly memory: Memory;
  readonly clock: Clock;
  readonly observer: BucketObserver & Observer & StoreObserver;
  /** As {@link SharedSweepDeps} has it. */
  readonly wait?: SharedSweepDeps['wait'] | undefined;
}

/** What replicas tell each other, so that one sweeps. */
interface SweepTurn {
  isFirst(): boolean;
  readonly holdSweep?: SharedSweepDeps['hold'];
  readonly bucketCount: BucketCountDeps['shared'];
}

/** What the rest of the program uses of the bucket. */
export interface SharedStorage {
  /** Starts and stops its uploads. */
  readonly part: Part;
  /** As the replicas of a cluster use it; undefined without a bucket. */
  readonly bucket: (SharedBucket & Pick<BucketStorage, 'cache'>) | undefined;
  /** Replaces parts of a mirror. */
  readonly parts: Partial<Pick<MirrorParts, 'records' | 'shared' | 'caches' | 'redirects'>>;
  /** For readyz; undefined without a bucket. A bucket that fails makes no replica unready. */
  state(): ReturnType<BucketStorage['state']> | undefined;
  uploadsQueued(): number;
  /** Keeps the bucket below its bound. */
  sweeper(turn: SweepTurn): Part;
  /** What the bucket held when this replica last swept it. */
  swept(): SweptBucket | undefined;
}

/** Where there is no bucket. */
const noBucket: SharedStorage = {
  part: partOf('shared storage', {}),
  bucket: undefined,
  parts: {},
  state: () => undefined,
  uploadsQueued: () => 0,
  sweeper: () => partOf('shared storage sweep', {}),
  swept: () => undefined,
};

/** The bucket of `storage.shared`; without that key nothing. */
export function createSharedStorage({ storage }: Config, deps: SharedStorageDeps): SharedStorage {
  const { shared: settings, path } = storage;
  if (!settings) return noBucket;
  const { stores: local, memory, clock, observer, wait } = deps;
  let sweep: SharedSweep | undefined;
  const bucket = new BucketStorage({ settings, path, local, memory, clock, observer });
  const redirects: BlobRedirects = { isOn: settings.redirect, urlFor: (...of) => bucket.cache.urlFor(...of) };
  return {
    part: bucket,
    bucket: { source: bucketSource(bucket), cache: bucket.cache, stored: (question) => bucket.stored(question) },
    parts: { records: bucket.records, shared: sharedByBucket(bucket), caches: bucket.cache, redirects },
    state: () => bucket.state(),
    uploadsQueued: () => bucket.queued,
    sweeper: (turn) => {
      const files = new DurableFolders({ files: nodeFiles });
      const view = { path: join(path, 'shared-index.sqlite'), files };
      const count = new BucketCount({ shared: turn.bucketCount, clock });
      bucket.onUploaded((bytes) => count.add(bytes));
      sweep = new SharedSweep({
        bucket,
        limits: settings,
        ...view,
        clock,
        observer,
        count,
        isFirst: () => turn.isFirst(),
        ...(wait && { wait }),
        ...(turn.holdSweep && { hold: turn.holdSweep }),
      });
      return sweep;
    },
    swept: () => sweep?.swept,
  };
}
