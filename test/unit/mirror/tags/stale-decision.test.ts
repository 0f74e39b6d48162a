import { expect, test } from 'vitest';
import { type StaleCause, staleDecision } from '../../../../src/mirror/tags/freshness.ts';
import { OciError, UpstreamError } from '../../../../src/oci/errors.ts';
import { defaultRules } from '../../../support/freshness-rules.ts';

const causes: readonly { readonly cause: Error; readonly reason: StaleCause }[] = [
  { cause: new UpstreamError('connect', ''), reason: 'connect' },
  { cause: new UpstreamError('dns', ''), reason: 'dns' },
  { cause: new UpstreamError('tls', ''), reason: 'tls' },
  { cause: new UpstreamError('timeout', ''), reason: 'timeout' },
  { cause: new UpstreamError('unavailable', ''), reason: 'error' },
  { cause: new UpstreamError('misbehaving', ''), reason: 'error' },
  { cause: new UpstreamError('overloaded', ''), reason: 'rateLimit' },
  { cause: new UpstreamError('refused', ''), reason: 'refused' },
  { cause: new OciError('DENIED', ''), reason: 'refused' },
];

test.each(causes)('a cached tag is served when the upstream gives no answer: $reason', ({ cause, reason }) => {
  expect(staleDecision(cause, 1_000, defaultRules)).toEqual({ word: 'serve-stale', reason });
});

test.each(causes)('… unless staleOn excludes $reason', ({ cause, reason }) => {
  const rules = { ...defaultRules, staleOn: { ...defaultRules.staleOn, [reason]: 'fail' as const } };
  expect(staleDecision(cause, 1_000, rules)).toEqual({ word: 'fail' });
});

test.each([
  { ageMs: 59_999, word: 'serve-stale' },
  { ageMs: 60_000, word: 'fail' },
])('with staleFor 1m, a tag last confirmed $ageMs ms ago: $word', ({ ageMs, word }) => {
  const rules = { ...defaultRules, staleForMs: 60_000 };
  expect(staleDecision(new UpstreamError('connect', ''), ageMs, rules).word).toBe(word);
});

test.each([
  { deletedUpstream: 'serve', expected: { word: 'serve-stale', reason: 'gone' } },
  { deletedUpstream: 'deny', expected: { word: 'fail' } },
] as const)(
  'a tag that was deleted upstream, with deletedUpstream $deletedUpstream',
  ({ deletedUpstream, expected }) => {
    expect(staleDecision(new OciError('MANIFEST_UNKNOWN', ''), 0, { ...defaultRules, deletedUpstream })).toEqual(
      expected,
    );
  },
);

test('a bug never causes a stale answer', () => {
  expect(staleDecision(new TypeError('x is not a function'), 0, defaultRules)).toEqual({ word: 'fail' });
});
