import { expect, test } from 'vitest';
import { topRepositories } from '../../../../src/app/administration/served-totals.ts';
import type { AnswerTotals } from '../../../../src/telemetry/answers.ts';

const nothing = { answers: 0, bytes: 0 };

function topOf(totals: Readonly<Record<string, AnswerTotals>>, forgotten = nothing) {
  return topRepositories({ byName: new Map(Object.entries(totals)), forgotten });
}

test('the most bytes come first, and a repository with few bytes but many requests is among them', () => {
  const large = Object.fromEntries(
    Array.from({ length: 30 }, (_, at) => [`large/${at}`, { answers: 1, bytes: 1_000 + at }]),
  );
  const { repositories, other } = topOf({ ...large, 'many/requests': { answers: 500, bytes: 1 } });
  expect(repositories[0]).toEqual({ name: 'large/29', requests: 1, bytes: 1_029 });
  expect(repositories.at(-1)).toEqual({ name: 'many/requests', requests: 500, bytes: 1 });
  expect(repositories.length).toBeLessThanOrEqual(40);
  const sum = (one: 'requests' | 'bytes') => repositories.reduce((total, repository) => total + repository[one], 0);
  expect(sum('requests') + other.requests).toBe(530);
  expect(sum('bytes') + other.bytes).toBe(30 * 1_000 + 435 + 1);
});

test('what is no longer counted by name is among the others', () => {
  expect(topOf({ 'a/b': { answers: 1, bytes: 2 } }, { answers: 10, bytes: 20 })).toEqual({
    repositories: [{ name: 'a/b', requests: 1, bytes: 2 }],
    other: { requests: 10, bytes: 20 },
  });
  expect(topOf({})).toEqual({ repositories: [], other: { requests: 0, bytes: 0 } });
});
