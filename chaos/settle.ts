import { setTimeout as sleep } from 'node:timers/promises';
import type { MirrorProcess } from './mirror-process.ts';
import { type ProcessState, stateOf } from './process-state.ts';

/** Kept connections to upstreams are closed by the mirror after 30 s. */
const settlesWithinMs = 60_000;

/** What a process may hold beyond what it held when it had just begun. */
const tolerated = { descriptors: 3, sockets: 3, timers: 6 } as const;

/** Waits until the mirror is as it was when it had just begun. @returns how it is then, and what it has not let go of. */
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

/** Whether memory did not go on growing from the middle of a time to its end. Pure. */
export function isFlat(samples: readonly ProcessState[]): boolean {
  const third = Math.floor(samples.length / 3);
  const medianOf = (part: readonly ProcessState[]): number =>
    part.map(({ rssBytes }) => rssBytes).toSorted((a, b) => a - b)[part.length >> 1] ?? 0;
  const middle = medianOf(samples.slice(third, 2 * third));
  return medianOf(samples.slice(2 * third)) <= 1.15 * middle + 16 * mebibyte;
}
