import { expect, test } from 'vitest';
import type { ProcessState } from '../../../chaos/process-state.ts';
import { trendsIn } from '../../../soak/limits.ts';

const quiet: ProcessState = {
  rssBytes: 200 * 1024 * 1024,
  heapBytes: 40 * 1024 * 1024,
  descriptors: 90,
  sockets: 60,
  timers: 4,
  eventLoopP99Ms: 20,
  strayFiles: 2,
  downloads: 1,
};

/** @param change by how much each sample differs from the one before. */
function tooMuchOf(change: Partial<ProcessState>): readonly string[] {
  const samples = Array.from({ length: 60 }, (_, index) => {
    const changed = Object.entries(change).map(([name, by]) => [name, Reflect.get(quiet, name) + index * by]);
    return { atSeconds: 5 * index, state: { ...quiet, ...Object.fromEntries(changed) } };
  });
  return trendsIn(samples).flatMap(({ name, growth, allowed }) => (growth > allowed ? [name] : []));
}

test.each([
  { what: 'memory', change: { rssBytes: 1024 * 1024 }, told: ['memory (VmRSS)'] },
  { what: 'the heap', change: { heapBytes: 1024 * 1024 }, told: ['heap after GC'] },
  { what: 'descriptors', change: { descriptors: 1 }, told: ['descriptors'] },
  { what: 'sockets', change: { sockets: 1 }, told: ['sockets'] },
  { what: 'timers', change: { timers: 1 }, told: ['timers'] },
  { what: 'the delay of the event loop', change: { eventLoopP99Ms: 2 }, told: ['event loop p99'] },
  { what: 'unfinished files', change: { strayFiles: 1 }, told: ['files in incoming/'] },
  { what: 'nothing', change: {}, told: [] },
])('a process with growing $what is reported', ({ change, told }) => {
  expect(tooMuchOf(change)).toEqual(told);
});
