import { boundedMap } from '../../mirror/concurrency/remembered.ts';
import type { Clock } from '../../mirror/ports/clock.ts';

/** The pause after a rate limit without Retry-After, and the longest pause. */
const defaultMs = 10_000;
const longestMs = 3_600_000;

/** Servers and accounts that are rate limited, and until when. */
export class BackOff {
  readonly #clock: Clock;
  readonly #untilMs = boundedMap<string, number>(10_000);

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param forSeconds from Retry-After. */
  begin(key: string, forSeconds: number | undefined): void {
    const forMs = forSeconds === undefined ? defaultMs : Math.min(forSeconds * 1_000, longestMs);
    this.#untilMs.set(key, this.#clock.monotonicMs() + forMs);
  }

  /** How much of the pause is left; 0 when requests may be sent. */
  leftMs(key: string): number {
    return Math.max(0, (this.#untilMs.get(key) ?? 0) - this.#clock.monotonicMs());
  }
}
