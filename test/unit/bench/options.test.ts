import { expect, test } from 'vitest';
import { parseOptions } from '../../../bench/options.ts';

test('a part of the bench never replaces the report of the whole', () => {
  expect(parseOptions([], 'RESULTS.md').reportFile).toBe('RESULTS.md');
  expect(parseOptions(['--only', 'warm-blob,cold-10'], 'RESULTS.md')).toMatchObject({
    only: new Set(['warm-blob', 'cold-10']),
    reportFile: undefined,
  });
});

test.each([
  [['--only', 'warm'], /--only: unknown measurement warm/],
  [['--runs', '0'], /--runs: expected a whole number above 0/],
  [['--runs', 'many'], /--runs: expected a whole number above 0/],
  [['--fast'], /--fast/],
])('%j is refused by name', (args, message) => {
  expect(() => parseOptions(args, 'RESULTS.md')).toThrow(message);
});
