import { expect, test } from 'vitest';
import { parseMetrics } from './metrics.ts';

test('series are summed over the labels that are not given', () => {
  const metrics = parseMetrics(`# HELP asked_total What was asked.
# TYPE asked_total counter
asked_total{kind="blob",code="200"} 3
asked_total{kind="blob",code="404"} 1
asked_total{kind="manifest",code="200"} 10
up 1
`);
  expect(metrics.sum('asked_total')).toBe(14);
  expect(metrics.sum('asked_total', { kind: 'blob' })).toBe(4);
  expect(metrics.sum('asked_total', { kind: 'blob', code: '200' })).toBe(3);
  expect(metrics.sum('up')).toBe(1);
  expect(metrics.sum('down')).toBe(0);
});
