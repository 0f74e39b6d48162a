import { setTimeout as sleep } from 'node:timers/promises';
import type { MirrorProcess } from './mirror-process.ts';
import { type ProcessState, stateOf } from './process-state.ts';

/** The mirror closes idle connections to upstreams after 30 s, and those of clients and of other replicas after 120 s. */
const settlesWithinMs = 150_000;

/** What the process may hold in addition to what it held at its start. */
const tolerated = { descriptors: 3, sockets: 3, timers: 6 } as const;

/** Waits until the mirror holds no more than at its start. @returns its state, and what it has not released in time. */
export async function settle(
  mirror: MirrorProcess,
  fresh: ProcessState,
): Promise<{ readonly state: ProcessState; readonly leaks: readonly string[] }> {
  const deadlineMs = performance.now() + settlesWithinMs;
  for (;;) {
    const state = await stateOf(mirror);
    const leaks = leaksIn(state, fresh);
    if (leaks.length === 0 || performance.now() > deadlineMs) return { state, leaks };
    await sleep(1_000);
  }
}

/** Pure. */
function leaksIn(state: ProcessState, fresh: ProcessState): readonly string[] {
  const leaks: string[] = [];
  for (const kind of ['descriptors', 'sockets', 'timers'] as const) {
    if (state[kind] > fresh[kind] + tolerated[kind]) leaks.push(`${state[kind]} ${kind}, ${fresh[kind]} when it began`);
  }
  if (state.strayFiles > 0) leaks.push(`${state.strayFiles} files in incoming/`);
  if (state.downloads > 0) leaks.push(`${state.downloads} downloads`);
  return leaks;
}

const mebibyte = 1024 * 1024;

/** Whether memory stopped growing: compares the last third of the samples with the middle third. Pure. */
export function isFlat(samples: readonly ProcessState[]): boolean {
  const third = Math.floor(samples.length / 3);
  const medianOf = (part: readonly ProcessState[]): number =>
    part.map(({ rssBytes }) => rssBytes).toSorted((a, b) => a - b)[part.length >> 1] ?? 0;
  const middle = medianOf(samples.slice(third, 2 * third));
  return medianOf(samples.slice(2 * third)) <= 1.15 * middle + 16 * mebibyte;
}
