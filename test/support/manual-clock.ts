import type { Clock } from '../../src/mirror/ports/clock.ts';

/** A clock that stands still until the test advances it. */
export class ManualClock implements Clock {
  #nowMs: number;
  #monotonicMs = 0;

  constructor(nowMs: number = Date.UTC(2030, 0, 1)) {
    this.#nowMs = nowMs;
  }

  now(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  /** Time passes. Where `ms` is negative the wall clock is set back, and no time passes. */
  advance(ms: number): void {
    this.#nowMs += ms;
    this.#monotonicMs += Math.max(0, ms);
  }

  /** Sets the wall clock forward or back: no time passes. */
  setWallClock(byMs: number): void {
    this.#nowMs += byMs;
  }
}
