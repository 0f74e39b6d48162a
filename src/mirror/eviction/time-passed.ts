import type { Clock } from '../ports/clock.ts';

/**
 * The time by which things grow old: the wall clock, but never further on than time has passed since the process began. A wall clock that
 * somebody sets ahead must not make everything in the store old at once.
 */
export class TimePassed {
  readonly #clock: Clock;
  readonly #offsetMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#offsetMs = clock.now() - clock.monotonicMs();
  }

  now(): number {
    return Math.min(this.#clock.now(), this.#offsetMs + this.#clock.monotonicMs());
  }
}
