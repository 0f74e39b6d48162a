import { expect, test } from 'vitest';
import { isRefusal, nextStep, type Outcome, refusedForAtMostMs } from '../../../src/events/webhooks/next-step.ts';

const answered = (status: number, retryAfterMs?: number): Outcome => ({ kind: 'answered', status, retryAfterMs });
const first = { failures: 1, refusedForMs: 0, random: 0 };

test.each([200, 201, 204, 299])('%i is a success', (status) => {
  expect(nextStep(answered(status), first)).toEqual({ kind: 'done' });
});

test.each([100, 301, 307, 400, 401, 404, 408, 422, 429, 500, 503])('after %i the event is sent again', (status) => {
  expect(nextStep(answered(status), first)).toEqual({ kind: 'retry', afterMs: 500 });
});

test('410 ends the deliveries', () => {
  expect(nextStep(answered(410), first)).toEqual({ kind: 'stop' });
});

test('an event that is refused for a day is skipped; one that is not taken for another reason never is', () => {
  const aDay = { failures: 300, refusedForMs: refusedForAtMostMs, random: 0 };
  expect(nextStep(answered(400), aDay)).toEqual({ kind: 'skip' });
  for (const outcome of [answered(503), answered(429), answered(302), { kind: 'failed', reason: 'connect' } as const])
    expect(nextStep(outcome, aDay).kind).toBe('retry');
  expect([400, 403, 408, 425, 429, 500].map((status) => isRefusal(answered(status)))).toEqual([
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
});

test('pauses double up to five minutes, and half of each is random', () => {
  const pause = (failures: number, random: number) => nextStep(answered(500), { failures, refusedForMs: 0, random });
  const afterMs = [1, 2, 3, 4, 9, 10, 1_000].map((failures) => pause(failures, 1));
  expect(afterMs.map((step) => step.kind === 'retry' && step.afterMs / 1_000)).toEqual([1, 2, 4, 8, 256, 300, 300]);
  expect(pause(4, 0)).toEqual({ kind: 'retry', afterMs: 4_000 });
});

test('Retry-After makes a pause longer, to an hour at most', () => {
  expect(nextStep(answered(429, 60_000), first)).toEqual({ kind: 'retry', afterMs: 60_000 });
  expect(nextStep(answered(503, 0), first)).toEqual({ kind: 'retry', afterMs: 500 });
  expect(nextStep(answered(503, 86_400_000), first)).toEqual({ kind: 'retry', afterMs: 3_600_000 });
});
