import { LRUCache } from 'lru-cache';
import type { Clock } from '../../../mirror/ports/clock.ts';
import type { Digest } from '../../../oci/digest.ts';
import type { BucketObjects } from '../access/objects.ts';
import type { BucketLayout } from '../bucket-layout.ts';

export interface LastUsesDeps {
  readonly objects: Pick<BucketObjects, 'put'>;
  readonly layout: BucketLayout;
  readonly clock: Clock;
}

/** Uses are told apart by the day: more would cost a call for each read. */
const noteAfterMs = 24 * 3_600_000;
const maxRemembered = 100_000;
const maxRunning = 4;
const empty = Uint8Array.of();

/**
 * Notes in the bucket that content was read from it: an empty object, whose time is that of the last use, at most once a day for each replica, and
 * not for content that was uploaded less than a day ago. A use that cannot be noted is forgotten.
 */
export class LastUses {
  readonly #deps: LastUsesDeps;
  readonly #notedAtMs = new LRUCache<Digest, number>({ max: maxRemembered });
  #running = 0;

  constructor(deps: LastUsesDeps) {
    this.#deps = deps;
  }

  /** In the background. Never throws. */
  used(digest: Digest, uploadedAtMs: number): void {
    const { objects, layout, clock } = this.#deps;
    if (clock.now() - Math.max(uploadedAtMs, this.#notedAtMs.get(digest) ?? 0) < noteAfterMs) return;
    if (this.#running >= maxRunning) return;
    this.#running += 1;
    this.#notedAtMs.set(digest, clock.now());
    const end = () => {
      this.#running -= 1;
    };
    const { signal } = new AbortController();
    objects.put(layout.used(digest), empty, { signal }).then(end, end);
  }
}
