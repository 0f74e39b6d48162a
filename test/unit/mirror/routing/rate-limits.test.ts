import { expect, test } from 'vitest';
import { lifetimeFactorWhenLow, RateLimits } from '../../../../src/mirror/routing/rate-limits.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

function limits(...seen: readonly { readonly account?: string; readonly remaining: number }[]) {
  const clock = new ManualClock();
  const rateLimits = new RateLimits({ clock });
  for (const { account = 'anonymous', remaining } of seen) {
    rateLimits.record({ upstream: 'docker.io', account, limit: 100, remaining, windowSeconds: 21_600 });
  }
  return { clock, factor: (label = 'docker.io') => rateLimits.lifetimeFactor(label) };
}

test.each([
  { remaining: 100, factor: 1 },
  { remaining: 10, factor: 1 },
  { remaining: 9, factor: lifetimeFactorWhenLow },
  { remaining: 0, factor: lifetimeFactorWhenLow },
])('with $remaining of 100 pulls left a cached tag stays fresh $factor times as long', ({ remaining, factor }) => {
  expect(limits({ remaining }).factor()).toBe(factor);
});

test('an upstream that reports no rate limit keeps its usual tag lifetimes', () => {
  expect(limits().factor()).toBe(1);
  expect(limits({ remaining: 0 }).factor('ghcr.io')).toBe(1);
});

test('tag lifetimes stay the same while one account has enough pulls left', () => {
  expect(limits({ account: 'basic-1', remaining: 0 }, { account: 'basic-2', remaining: 80 }).factor()).toBe(1);
});

test('a reported limit expires with its window', () => {
  const { clock, factor } = limits({ remaining: 0 });
  clock.advance(21_600_000);
  expect(factor()).toBe(1);
});

test.each([-86_400_000, 86_400_000])(
  'a clock that is set by %d ms makes a reported limit last neither longer nor shorter',
  (byMs) => {
    const { clock, factor } = limits({ remaining: 0 });
    clock.setWallClock(byMs);
    expect(factor()).toBe(lifetimeFactorWhenLow);
    clock.advance(21_600_000);
    expect(factor()).toBe(1);
  },
);
