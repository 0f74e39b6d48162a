import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { expect } from 'vitest';
import { SharedSweep } from '../../../../src/app/bucket/sweep.ts';
import { BucketCount } from '../../../../src/cluster/bucket/bucket-count.ts';
import { holdSweep } from '../../../../src/cluster/bucket/sweep-lease.ts';
import { RedisConnection } from '../../../../src/cluster/redis/connection.ts';
import { clusterKeys } from '../../../../src/cluster/replica-scripts.ts';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import { systemClock } from '../../../../src/mirror/ports/clock.ts';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { DurableFolders } from '../../../../src/storage/filesystem/durable-folders.ts';
import { nodeFiles } from '../../../../src/storage/filesystem/file-system.ts';
import type { BucketSettings } from '../../../../src/storage/s3/access/client.ts';
import { BucketStorage } from '../../../../src/storage/s3/bucket-storage.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { MemoryBlobs } from '../../../support/memory-blobs.ts';
import { MemoryRecords } from '../../../support/memory-records.ts';
import { thisTest } from '../../../support/owner.ts';
import type { TestRedis } from '../../../support/redis.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';
import { RecordingBucketObserver, alpine } from '../../storage/s3/parts.ts';
import { RecordingObserver } from '../../upstream/recording-observer.ts';

export const keys = clusterKeys('layerwell');

export interface ReplicaOptions {
  readonly name: string;
  readonly settings: BucketSettings;
  readonly redis: TestRedis;
  readonly maxBytes: number;
  readonly isFirst?: boolean;
  /** Of its lease. */
  readonly times?: { readonly lifetimeMs: number; readonly renewMs: number };
}

class Observing extends RecordingObserver {
  readonly bucket = new RecordingBucketObserver();
  bucketAnswered = this.bucket.bucketAnswered.bind(this.bucket);
  bucketChanged = this.bucket.bucketChanged.bind(this.bucket);
  uploadEnded = this.bucket.uploadEnded.bind(this.bucket);
}

/** What a replica has for its bucket: uploads, the count of them in Redis, and the sweep, whose pauses end when the test says so. */
export async function startSweepingReplica(options: ReplicaOptions) {
  const { name, settings, redis, maxBytes, isFirst = false, times } = options;
  const clock = new ManualClock(Date.now());
  const observer = new Observing();
  const connection = new RedisConnection({
    name: 'cluster',
    settings: redis.settings,
    clock: systemClock,
    observer: { redisAnswered: () => {}, redisChanged: () => {} },
    commandWithinMs: 2_000,
  });
  await connection.start();
  thisTest(() => connection.stop({ signal: AbortSignal.timeout(1_000) }));
  const path = await temporaryDirectory();
  const local = {
    store: Object.assign(new MemoryBlobs(), { readAll: async () => undefined }),
    records: new MemoryRecords(),
  };
  const memory = new MemoryBudget({ maxBytes: 256 * 1024 * 1024 });
  const bucket = new BucketStorage({ settings, path, local, memory, clock, observer });
  await bucket.start();
  thisTest(() => bucket.stop({ signal: AbortSignal.timeout(1_000) }));
  const shared = { redis: connection, keys };
  const count = new BucketCount({ shared, clock });
  bucket.onUploaded((bytes) => count.add(bytes));
  const waits: (() => void)[] = [];
  const sweep = new SharedSweep({
    bucket,
    limits: { maxBytes, unusedForMs: Infinity, keep: [] },
    path: join(path, 'shared-index.sqlite'),
    files: new DurableFolders({ files: nodeFiles }),
    clock,
    observer,
    count,
    isFirst: () => isFirst,
    hold: () => holdSweep({ ...shared, replicaId: name, ...(times && { times }) }),
    wait: (_ms, signal) =>
      new Promise<void>((end, fail) => {
        waits.push(end);
        signal.addEventListener('abort', () => fail(new Error('stopped')), { once: true });
      }),
  });
  thisTest(() => sweep.stop({ signal: AbortSignal.timeout(1_000) }));
  await sweep.start();

  /** Uploads one blob of so many random bytes. */
  const upload = async (bytes: number): Promise<Digest> => {
    const content = randomBytes(bytes);
    const digest = digestOf(content);
    local.store.blobs.set(digest, content);
    await local.records.write({ kind: 'blob', repositoryId: alpine, digest }, { size: bytes, firstServedAtMs: 1 });
    const ended = observer.bucket.uploads.length;
    bucket.stored({ repositoryId: alpine, digest });
    await expect.poll(() => observer.bucket.uploads.length, { timeout: 10_000 }).toBeGreaterThan(ended);
    return digest;
  };
  /** Half a minute passes: it looks whether a sweep is due. @returns what resolves when it has looked, and swept if it was. */
  const look = async (passedMs = 30_000): Promise<void> => {
    await expect.poll(() => waits.length).toBeGreaterThan(0);
    clock.advance(passedMs);
    waits.splice(0).at(-1)?.();
    await expect.poll(() => waits.length, { timeout: 20_000 }).toBeGreaterThan(0);
  };
  return { name, clock, observer, bucket, connection, count, sweep, upload, look };
}

export type SweepingReplica = Awaited<ReturnType<typeof startSweepingReplica>>;
