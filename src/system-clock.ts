import type { Clock } from './mirror/ports.ts';

/** The machine's clocks. */
export const systemClock: Clock = { now: () => Date.now(), monotonicMs: () => performance.now() };
