import type { Clock } from '../../../mirror/ports/clock.ts';
import { boundedMap } from '../../bounded-map.ts';

/** How long whoever asked for patience is left alone where it did not say for how long, and at most. */
const untoldMs = 10_000;
const longestMs = 3_600_000;

/** Who asked not to be asked for a while, and until when. */
export class BackOff {
  readonly #clock: Clock;
  readonly #untilMs = boundedMap<string, number>(10_000);

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param forSeconds as it was told, with Retry-After. */
  begin(whom: string, forSeconds: number | undefined): void {
    const forMs = forSeconds === undefined ? untoldMs : Math.min(forSeconds * 1_000, longestMs);
    this.#untilMs.set(whom, this.#clock.monotonicMs() + forMs);
  }

  /** How long it is to be left alone yet; 0 when it may be asked. */
  leftMs(whom: string): number {
    return Math.max(0, (this.#untilMs.get(whom) ?? 0) - this.#clock.monotonicMs());
  }
}
