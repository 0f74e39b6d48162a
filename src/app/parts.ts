import type { Part } from './lifecycle.ts';

const sweepEveryMs = 60_000;

/** Sweeps the store once a minute, beginning at start. */
export function sweeper(sweep: () => void): Part {
  let timer: NodeJS.Timeout | undefined;
  return partOf('sweeper', {
    start: async () => {
      timer = setInterval(sweep, sweepEveryMs).unref();
      sweep(); // The first sweep finds what former processes left in the store.
    },
    stop: async () => clearInterval(timer),
  });
}

/** A part made of the given functions; a missing one does nothing. */
export function partOf(name: string, work: Partial<Pick<Part, 'start' | 'stop'>>): Part {
  return { name, start: async () => {}, stop: async () => {}, ...work };
}
