import type { Parameters } from 'fast-check';

/** The same examples at every run; `FUZZ_SEED=7 FUZZ_TIMES=100` looks at others, and at more of them. */
export function runs(numRuns: number): Parameters<unknown> {
  const seed = Number(process.env['FUZZ_SEED'] ?? 1);
  return { seed, numRuns: numRuns * Number(process.env['FUZZ_TIMES'] ?? 1) };
}
