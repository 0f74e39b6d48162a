import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import type { BucketObserver } from '../../../../src/mirror/ports/observer.ts';
import type { Clock } from '../../../../src/mirror/ports/clock.ts';
import { BucketCache } from '../../../../src/storage/s3/bucket-cache.ts';
import { BucketLayout } from '../../../../src/storage/s3/bucket-layout.ts';
import { BucketLinks } from '../../../../src/storage/s3/bucket-links.ts';
import { BucketObjects } from '../../../../src/storage/s3/access/objects.ts';
import { BucketRecords } from '../../../../src/storage/s3/bucket-records.ts';
import { BucketCalls } from '../../../../src/storage/s3/access/calls.ts';
import type { BucketSettings } from '../../../../src/storage/s3/access/client.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { thisTest } from '../../../support/owner.ts';

type Event<Name extends keyof BucketObserver> = Parameters<BucketObserver[Name]>[0];

/** Keeps what it was told of the bucket. */
export class RecordingBucketObserver implements BucketObserver {
  readonly answers: string[] = [];
  readonly states: string[] = [];
  readonly uploads: Event<'uploadEnded'>[] = [];

  bucketAnswered({ operation, outcome }: Event<'bucketAnswered'>): void {
    this.answers.push(`${operation} ${outcome}`);
  }

  bucketChanged({ state }: Event<'bucketChanged'>): void {
    this.states.push(state);
  }

  uploadEnded(event: Event<'uploadEnded'>): void {
    this.uploads.push(event);
  }
}

export interface PartsOptions {
  readonly clock?: ManualClock;
  readonly readWithinMs?: number;
  readonly idleMs?: number;
  readonly memoryBytes?: number;
}

/** The parts that read a bucket, connected as the app connects them. */
export function bucketParts(settings: BucketSettings, options: PartsOptions = {}) {
  const { clock = new ManualClock(), idleMs = 1_000, readWithinMs = 5_000, memoryBytes = 256 * 1024 * 1024 } = options;
  const observer = new RecordingBucketObserver();
  const passing: Clock = clock;
  const calls = new BucketCalls({ settings, clock: passing, observer, readWithinMs });
  thisTest(() => calls.close());
  const layout = new BucketLayout(settings.prefix);
  const objects = new BucketObjects({ settings, calls, idleMs });
  const records = new BucketRecords({ objects, layout });
  const links = new BucketLinks({ records });
  const cache = new BucketCache({ objects, records, links, layout, clock });
  const memory = new MemoryBudget({ maxBytes: memoryBytes });
  return { clock, observer, calls, layout, objects, records, links, cache, memory };
}

export type BucketParts = ReturnType<typeof bucketParts>;

export const alpine = { upstream: 'docker.io', repository: parseRepository('library/alpine') };
export const other = { upstream: 'docker.io', repository: parseRepository('private/app') };
export const waiting = { signal: new AbortController().signal };
