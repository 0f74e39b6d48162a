import type { ProcessState } from '../chaos/process-state.ts';
import { growthOf, lowsOf, meanOf, type Point } from './slope.ts';

export interface Sample {
  readonly atSeconds: number;
  readonly state: ProcessState;
}

/** One measured value of the process, and the growth from warm-up to end that still counts as noise. */
interface Limit {
  readonly name: string;
  readonly read: (state: ProcessState) => number;
  /** Allowed growth, as a share of the mean. */
  readonly share: number;
  /** Allowed growth in addition, in the unit of the value. */
  readonly offset: number;
  readonly unit: string;
  /** Only the lowest of this many samples counts. */
  readonly lowEvery: number;
}

const mebibyte = 1024 * 1024;
const limits: readonly Limit[] = [
  {
    name: 'memory (VmRSS)',
    read: ({ rssBytes }) => rssBytes / mebibyte,
    share: 0.1,
    offset: 16,
    unit: 'MiB',
    lowEvery: 1,
  },
  {
    name: 'heap after GC',
    read: ({ heapBytes }) => heapBytes / mebibyte,
    share: 0.15,
    offset: 8,
    unit: 'MiB',
    lowEvery: 6,
  },
  { name: 'descriptors', read: ({ descriptors }) => descriptors, share: 0.1, offset: 8, unit: '', lowEvery: 1 },
  { name: 'sockets', read: ({ sockets }) => sockets, share: 0.1, offset: 8, unit: '', lowEvery: 1 },
  { name: 'timers', read: ({ timers }) => timers, share: 0.25, offset: 10, unit: '', lowEvery: 1 },
  {
    name: 'event loop p99',
    read: ({ eventLoopP99Ms }) => eventLoopP99Ms,
    share: 0.5,
    offset: 15,
    unit: 'ms',
    lowEvery: 1,
  },
  { name: 'files in incoming/', read: ({ strayFiles }) => strayFiles, share: 0.5, offset: 4, unit: '', lowEvery: 1 },
];

export interface Trend {
  readonly name: string;
  readonly unit: string;
  readonly mean: number;
  readonly most: number;
  readonly growth: number;
  readonly allowed: number;
}

/** The trend of each value after the warm-up. Pure. */
export function trendsIn(samples: readonly Sample[]): readonly Trend[] {
  return limits.map(({ name, unit, read, share, offset, lowEvery }) => {
    const points: readonly Point[] = samples.map(({ atSeconds, state }) => ({ atSeconds, value: read(state) }));
    const counted = lowsOf(points, lowEvery);
    const mean = meanOf(counted);
    const most = Math.max(...points.map(({ value }) => value));
    return { name, unit, mean, most, growth: growthOf(counted), allowed: share * mean + offset };
  });
}
