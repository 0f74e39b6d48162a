/** What the mirror needs from the clock. Tests pass one they can turn by hand. */
export interface Clock {
  /** Wall clock, in milliseconds since the epoch: for what is stored, shown or compared with a date. It may jump back and forth. */
  now(): number;
  /** Monotonic clock, in milliseconds since some moment of this process: for waiting, expiry in memory and durations. */
  monotonicMs(): number;
}

/** The machine's clocks. */
export const systemClock: Clock = { now: () => Date.now(), monotonicMs: () => performance.now() };
