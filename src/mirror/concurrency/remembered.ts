import { LRUCache } from 'lru-cache';
import { OciError } from '../../oci/errors.ts';
import type { Clock } from '../ports/clock.ts';

/** Caches outcomes for a limited time, so that not every pull repeats the work. Their number is bounded. */
export class Remembered<Outcome extends object> {
  readonly #until: LRUCache<string, { readonly outcome: Outcome; readonly untilMs: number }>;
  readonly #clock: Clock;

  constructor({ clock, max }: { clock: Clock; max: number }) {
    this.#clock = clock;
    this.#until = boundedMap(max);
  }

  get(key: string): Outcome | undefined {
    const entry = this.#until.get(key);
    if (!entry) return undefined;
    if (this.#clock.monotonicMs() < entry.untilMs) return entry.outcome;
    this.#until.delete(key);
    return undefined;
  }

  remember(key: string, outcome: Outcome, forMs: number): void {
    if (forMs > 0) this.#until.set(key, { outcome, untilMs: this.#clock.monotonicMs() + forMs });
  }

  forget(key: string): void {
    this.#until.delete(key);
  }
}

/** A recent "not found" of the upstream, repeated without another request. */
export class RememberedNotFound extends OciError {
  constructor(answer: OciError) {
    super(answer.code, answer.message, { cause: answer });
  }
}

/**
 * A map that holds at most `max` entries; those that were used longest ago leave first. Room is taken when it is needed: lru-cache's own
 * `max` sets it aside at once, which with some hundred upstreams takes the start of the mirror seconds.
 */
export function boundedMap<Key extends string, Value extends {}>(max: number): LRUCache<Key, Value> {
  return new LRUCache({ maxSize: max, sizeCalculation: () => 1 });
}

/** Counts what is kept, so that whoever removes something can tell what was kept since it began. */
export class Marks {
  #last = 0;

  /** What is kept from now on is newer. */
  get last(): number {
    return this.#last;
  }

  next(): number {
    this.#last += 1;
    return this.#last;
  }
}
