import { expect, test } from 'vitest';
import { parseOptions } from '../../../bench/options.ts';

test('a partial run of the bench never overwrites the full report', () => {
  expect(parseOptions([], 'RESULTS.md').reportFile).toBe('RESULTS.md');
  expect(parseOptions(['--only', 'warm-blob,cold-10'], 'RESULTS.md')).toMatchObject({
    only: new Set(['warm-blob', 'cold-10']),
    reportFile: undefined,
  });
});

test('a run with replicas has a report of its own', () => {
  expect(parseOptions(['replicas'], 'bench/RESULTS.md')).toMatchObject({
    isOfReplicas: true,
    reportFile: 'bench/REPLICAS.md',
  });
});

test.each([
  [['replica'], /expected nothing or "replicas", got replica/],
  [['--only', 'warm'], /--only: unknown measurement warm/],
  [['--runs', '0'], /--runs: expected a whole number above 0/],
  [['--runs', 'many'], /--runs: expected a whole number above 0/],
  [['--fast'], /--fast/],
])('%j is rejected by name', (args, message) => {
  expect(() => parseOptions(args, 'RESULTS.md')).toThrow(message);
});
