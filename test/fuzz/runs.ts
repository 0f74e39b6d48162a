import fc from 'fast-check';

/**
 * Asserts that a property holds for so many examples: the same at every run. `FUZZ_SEED=7 FUZZ_TIMES=100` looks at others, and at more
 * of them.
 */
export async function expectAlways(
  property: fc.IRawProperty<unknown, true> | fc.IRawProperty<unknown, false>,
  examples: number,
): Promise<void> {
  const seed = Number(process.env['FUZZ_SEED'] ?? 1);
  await fc.assert(property, { seed, numRuns: examples * Number(process.env['FUZZ_TIMES'] ?? 1) });
}
