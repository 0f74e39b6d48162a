import type { Clock } from '../../src/mirror/ports.ts';

/** A clock that stands still until the test turns it. */
export class ManualClock implements Clock {
  #nowMs: number;

  constructor(nowMs: number = Date.UTC(2030, 0, 1)) {
    this.#nowMs = nowMs;
  }

  now(): number {
    return this.#nowMs;
  }

  /** Turns it on, or back where `ms` is negative. */
  advance(ms: number): void {
    this.#nowMs += ms;
  }
}
