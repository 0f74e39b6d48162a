/** The clocks that the mirror uses. Tests pass one that they set by hand. */
export interface Clock {
  /** Wall clock, in milliseconds since the epoch: for stored times, dates and logs. It may jump. */
  now(): number;
  /** Monotonic clock, in milliseconds: for waiting, expiry in memory and durations. */
  monotonicMs(): number;
}

/** The machine's clocks. */
export const systemClock: Clock = { now: Date.now, monotonicMs: performance.now.bind(performance) };
