import { expect, test } from 'vitest';
import { RememberedNotFound } from '../../../../src/mirror/concurrency/remembered.ts';
import { type KnownVisibility, visibilityDecision } from '../../../../src/mirror/access/visibility.ts';
import { agoMs, day, now, repositoryId, visibilityOf } from '../../../support/scripted-visibility.ts';

const asking = { publicForMs: 300_000, hiddenForMs: 30_000, retryFailedAfterMs: 60_000 };

test.each([
  { what: 'unknown', known: undefined, decision: 'ask' },
  { what: 'public, within the lifetime', known: { verdict: 'public', askedAtMs: agoMs(299_999) }, decision: 'serve' },
  { what: 'public, before that', known: { verdict: 'public', askedAtMs: agoMs(300_000) }, decision: 'ask' },
  { what: 'public, in the future', known: { verdict: 'public', askedAtMs: agoMs(-1) }, decision: 'ask' },
  {
    what: 'public, before that, and the last check has just failed',
    known: { verdict: 'public', askedAtMs: agoMs(300_000), failedAtMs: agoMs(59_999) },
    decision: 'unavailable',
  },
  {
    what: 'public, before that, and the last check failed a minute ago',
    known: { verdict: 'public', askedAtMs: agoMs(300_000), failedAtMs: agoMs(60_000) },
    decision: 'ask',
  },
  { what: 'hidden, a moment ago', known: { verdict: 'hidden', askedAtMs: agoMs(29_999) }, decision: 'hide' },
  { what: 'hidden, a while ago', known: { verdict: 'hidden', askedAtMs: agoMs(30_000) }, decision: 'ask' },
  {
    what: 'hidden, a while ago, and the last check has just failed',
    known: { verdict: 'hidden', askedAtMs: agoMs(day), failedAtMs: agoMs(1) },
    decision: 'hide',
  },
] as const satisfies readonly { what: string; known: KnownVisibility | undefined; decision: string }[])(
  'before the account is used, the answer $what means: $decision',
  ({ known, decision }) => {
    expect(visibilityDecision('upstream', known, asking, now)).toBe(decision);
  },
);

test("before the account is used, a verdict older than a tag's lifetime is checked again, once for all waiters", async () => {
  const { upstream, clock, checkBeforeAsking, check } = visibilityOf();
  await check();
  await checkBeforeAsking();
  expect(upstream.asked).toHaveLength(1);
  clock.advance(1_000);
  await Promise.all([checkBeforeAsking(), checkBeforeAsking()]);
  expect(upstream.asked).toHaveLength(2);
  upstream.says = 'hidden';
  clock.advance(1_000);
  await expect(checkBeforeAsking()).rejects.toMatchObject({ code: 'NAME_UNKNOWN' });
  await expect(check()).rejects.toBeInstanceOf(RememberedNotFound);
});

test('without a recent verdict the account is not used: the error says what went wrong, and the check is not repeated for a while', async () => {
  const { upstream, clock, checkBeforeAsking, check } = visibilityOf();
  await check();
  clock.advance(1_000);
  upstream.says = undefined;
  for (let times = 0; times < 3; times += 1) {
    await expect(checkBeforeAsking()).rejects.toMatchObject({ reason: 'overloaded', retryAfterSeconds: 7 });
  }
  expect(upstream.asked).toHaveLength(2);
  await check();
  upstream.says = 'public';
  clock.advance(60_000);
  await checkBeforeAsking();
  expect(upstream.asked).toHaveLength(3);
});

test("a repository is public now by a current verdict, and not by yesterday's", async () => {
  const { visibility, clock, check } = visibilityOf();
  expect(await visibility.isPublicNow(repositoryId, 'docker.io')).toBe(false);
  await check();
  clock.advance(day - 1);
  expect(await visibility.isPublicNow(repositoryId, 'docker.io')).toBe(true);
  clock.advance(1);
  expect(await visibility.isPublicNow(repositoryId, 'docker.io')).toBe(false);
});
