import { expect, test } from 'vitest';
import {
  createFreshnessPolicies,
  CurrentPolicies,
  failureDecision,
  freshnessOf,
  tagDecision,
  tagLifetimes,
} from '../../../../src/mirror/tags/freshness.ts';
import { defaultRules } from '../../../support/freshness-rules.ts';

test.each([
  { age: 'just confirmed', nowMs: 1_000, expected: 'fresh' },
  { age: 'one ms before its lifetime is over', nowMs: 60_999, expected: 'fresh' },
  { age: 'at the end of its lifetime', nowMs: 61_000, expected: 'revalidate' },
  { age: 'long past it', nowMs: 1e12, expected: 'revalidate' },
  { age: 'confirmed in the future', nowMs: 999, expected: 'revalidate' },
])('a tag $age is $expected', ({ nowMs, expected }) => {
  expect(freshnessOf(1_000, 60_000, nowMs)).toBe(expected);
});

test('a lifetime of 0 makes every tag stale; with lifetime forever only a time in the future is stale', () => {
  expect(freshnessOf(0, 0, 0)).toBe('revalidate');
  expect(freshnessOf(0, Infinity, 1e15)).toBe('fresh');
  expect(freshnessOf(1, Infinity, 0)).toBe('revalidate');
});

test('the first matching pattern sets the lifetime of a tag', () => {
  const rules = {
    ...defaultRules,
    tagMs: 1,
    tags: [
      { match: '**:latest', tagMs: 2 },
      { match: 'docker.io/library/*:latest', tagMs: 3 },
      { match: 'ghcr.io/team/*:v*', tagMs: 4 },
    ],
  };
  const lifetimeMs = tagLifetimes(rules);
  expect(lifetimeMs('docker.io/library/app:latest')).toBe(2);
  expect(lifetimeMs('ghcr.io/team/app:v1')).toBe(4);
  expect(lifetimeMs('ghcr.io/team/sub/app:v1')).toBe(1);
  expect(lifetimeMs('docker.io/library/app:latest-1')).toBe(1);
  expect(tagLifetimes({ ...rules, offline: true })('docker.io/library/app:latest')).toBe(Infinity);
});

test('the rules of an upstream beat those for all; both can be replaced at run time', () => {
  const own = { ...defaultRules, tagMs: 7 };
  const policies = new CurrentPolicies(createFreshnessPolicies(new Map([['ghcr.io', own]]), defaultRules));
  expect(policies.rulesOf('ghcr.io')).toBe(own);
  expect(policies.rulesOf('quay.io')).toBe(defaultRules);
  expect(policies.tagLifetimeMs('ghcr.io', 'ghcr.io/a:1')).toBe(7);
  expect(policies.tagLifetimeMs('quay.io', 'quay.io/a:1')).toBe(defaultRules.tagMs);
  policies.replace(createFreshnessPolicies(new Map(), own));
  expect(policies.rulesOf('quay.io')).toBe(own);
  expect(policies.tagLifetimeMs('quay.io', 'quay.io/a:1')).toBe(7);
});

test.each([
  { isKnown: false, isFresh: false, hasRecentFallback: false, expected: 'look-up' },
  { isKnown: true, isFresh: false, hasRecentFallback: false, expected: 'revalidate' },
  { isKnown: true, isFresh: true, hasRecentFallback: false, expected: 'hit' },
  { isKnown: true, isFresh: false, hasRecentFallback: true, expected: 'repeat-fallback' },
  { isKnown: true, isFresh: true, hasRecentFallback: true, expected: 'repeat-fallback' },
])(
  'a tag (known $isKnown, fresh $isFresh, recent fallback $hasRecentFallback): $expected',
  ({ expected, ...standing }) => {
    expect(tagDecision(standing)).toBe(expected);
  },
);

test.each([
  { hasFallback: true, isTooSlow: false, expected: 'serve-fallback' },
  { hasFallback: true, isTooSlow: true, expected: 'serve-fallback' },
  { hasFallback: false, isTooSlow: true, expected: 'wait' },
  { hasFallback: false, isTooSlow: false, expected: 'fail' },
])('a failed lookup (fallback $hasFallback, too slow $isTooSlow): $expected', ({ expected, ...failure }) => {
  expect(failureDecision(failure)).toBe(expected);
});
