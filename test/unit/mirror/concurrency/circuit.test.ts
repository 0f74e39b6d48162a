import { expect, test } from 'vitest';
import { Circuit, type CircuitState } from '../../../../src/mirror/concurrency/circuit.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

function circuit() {
  const clock = new ManualClock();
  const story: CircuitState[] = [];
  const rules = { firstOpenMs: 10_000, maxOpenMs: 300_000 };
  return { clock, story, circuit: new Circuit({ rules, clock, onChange: (state) => story.push(state) }) };
}

test('when its time is over one trial starts, and no second one beside it', () => {
  const { circuit: one, clock, story } = circuit();
  one.failed();
  clock.advance(9_999);
  expect(one.beginTrial()).toBe(false);
  clock.advance(1);
  expect(one.beginTrial()).toBe(true);
  expect(one.beginTrial()).toBe(false);
  one.succeeded();
  expect(one.state).toBe('closed');
  expect(story).toEqual(['open', 'half-open', 'closed']);
});

test('each failed trial doubles the time, up to five minutes; a success resets it to ten seconds', () => {
  const { circuit: one, clock } = circuit();
  one.failed();
  const times = [one.openForMs];
  for (let tries = 0; tries < 6; tries += 1) {
    clock.advance(one.openForMs);
    one.beginTrial();
    one.failed();
    times.push(one.openForMs);
  }
  expect(times).toEqual([10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
  clock.advance(300_000);
  one.beginTrial();
  one.succeeded();
  one.failed();
  expect(one.openForMs).toBe(10_000);
});

test('an endpoint with Retry-After is left alone for that time', () => {
  const { circuit: one } = circuit();
  one.failed({ atLeastMs: 60_000 });
  expect(one.openForMs).toBe(60_000);
});

test.each([-86_400_000, 86_400_000])(
  'a clock that is set by %d ms keeps the circuit open neither longer nor shorter',
  (byMs) => {
    const { circuit: one, clock } = circuit();
    one.failed();
    clock.setWallClock(byMs);
    clock.advance(9_999);
    expect(one.beginTrial()).toBe(false);
    clock.advance(1);
    expect(one.beginTrial()).toBe(true);
  },
);

test('after a trial without a result the next one starts at once', () => {
  const { circuit: one, clock } = circuit();
  one.failed();
  clock.advance(10_000);
  one.beginTrial();
  one.undecided();
  expect(one.beginTrial()).toBe(true);
});
