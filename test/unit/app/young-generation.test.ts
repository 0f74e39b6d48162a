import { expect, test } from 'vitest';
import { growthFactorAt } from '../../../src/app/young-generation.ts';

const MiB = 1024 * 1024;

test.each([
  { what: 'that shrank while nobody asked anything grows again', capacity: MiB, factor: 2 },
  { what: 'that is half as large as it should be grows', capacity: 4 * MiB - 1, factor: 2 },
  { what: 'that is large enough stays as it is', capacity: 8 * MiB - 1, factor: 1 },
  { what: 'that became too large grows no further', capacity: 16 * MiB - 1, factor: 1 },
])('a young generation $what', ({ capacity, factor }) => {
  expect(growthFactorAt(capacity)).toBe(factor);
});
