import type { Part } from '../lifecycle.ts';

const sweepEveryMs = 60_000;

/** Evicts what is due, now and then. */
export function sweeper(sweep: () => void): Part {
  let timer: NodeJS.Timeout | undefined;
  return partOf('sweeper', {
    start: async () => {
      timer = setInterval(sweep, sweepEveryMs).unref();
      sweep(); // It finds what former processes left.
    },
    stop: async () => clearInterval(timer),
  });
}

/** A part that does no more than it says. */
export function partOf(name: string, work: Partial<Pick<Part, 'start' | 'stop'>>): Part {
  return { name, start: async () => {}, stop: async () => {}, ...work };
}
