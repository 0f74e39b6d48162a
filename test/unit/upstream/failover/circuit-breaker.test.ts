import { expect, test } from 'vitest';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { AnsweringRepositories, answeredLatelyMs } from '../../../../src/upstream/failover/circuit-breaker.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const [one, other] = [parseRepository('team/one'), parseRepository('team/other')];

function startAnswering() {
  const clock = new ManualClock();
  return { clock, answering: new AnsweringRepositories({ clock }) };
}

test('an endpoint counts as answering until its last answer is 30 s old', () => {
  const { clock, answering } = startAnswering();
  expect(answering.hasAnsweredLately).toBe(false);
  answering.answered(one);
  clock.advance(answeredLatelyMs - 1);
  answering.answered(other);
  clock.advance(1);
  expect(answering.hasAnsweredLately).toBe(true);
  answering.failed(other);
  expect(answering.hasAnsweredLately).toBe(false);
});

test('the latest answer counts, also for a repository that is already known', () => {
  const { clock, answering } = startAnswering();
  answering.answered(one);
  answering.answered(other);
  clock.advance(answeredLatelyMs);
  answering.answered(one);
  expect(answering.hasAnsweredLately).toBe(true);
});

test('a repository is picked once, and again after its next answer', () => {
  const { answering } = startAnswering();
  answering.answered(one);
  expect([answering.take(one), answering.take(one), answering.take(other)]).toEqual([true, false, false]);
  answering.answered(one);
  expect(answering.take(one)).toBe(true);
});

test('at most 1,000 repositories are remembered: the oldest is dropped', () => {
  const { answering } = startAnswering();
  answering.answered(one);
  for (let more = 0; more < 1_000; more += 1) answering.answered(parseRepository(`team/app-${more}`));
  expect(answering.take(one)).toBe(false);
  expect(answering.take(parseRepository('team/app-0'))).toBe(true);
});
