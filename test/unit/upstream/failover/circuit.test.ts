import { expect, test } from 'vitest';
import { OciError, UpstreamError } from '../../../../src/oci/errors.ts';
import { Circuit, type CircuitState } from '../../../../src/upstream/failover/circuit.ts';
import { verdictOn } from '../../../../src/upstream/failover/circuit-breaker.ts';
import { RememberedFailure } from '../../../../src/upstream/failover/failing-resources.ts';
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

const waiting = new AbortController().signal;
const left = AbortSignal.abort(new Error('the client has left'));
const tooLate = AbortSignal.abort(new DOMException('too late', 'TimeoutError'));

test.each([
  {
    what: 'not found',
    cause: new OciError('MANIFEST_UNKNOWN', ''),
    signal: waiting,
    registry: 'answered',
    mirror: 'answered',
  },
  { what: 'denied', cause: new OciError('DENIED', ''), signal: waiting, registry: 'answered', mirror: 'answered' },
  {
    what: 'unreachable',
    cause: new UpstreamError('connect', ''),
    signal: waiting,
    registry: 'failed',
    mirror: 'failed',
  },
  { what: 'slow', cause: new UpstreamError('timeout', ''), signal: waiting, registry: 'failed', mirror: 'failed' },
  { what: '503', cause: new UpstreamError('unavailable', ''), signal: waiting, registry: 'failed', mirror: 'failed' },
  { what: '429', cause: new UpstreamError('overloaded', ''), signal: waiting, registry: 'answered', mirror: 'failed' },
  { what: '401', cause: new UpstreamError('refused', ''), signal: waiting, registry: 'answered', mirror: 'failed' },
  {
    what: 'wrong bytes',
    cause: new UpstreamError('misbehaving', ''),
    signal: waiting,
    registry: 'answered',
    mirror: 'failed',
  },
  {
    what: 'no place in line',
    cause: new UpstreamError('busy', ''),
    signal: waiting,
    registry: 'undecided',
    mirror: 'undecided',
  },
  {
    what: 'a resource that failed a moment ago',
    cause: new RememberedFailure(new UpstreamError('unavailable', ''), 1),
    signal: waiting,
    registry: 'undecided',
    mirror: 'undecided',
  },
  { what: 'a client that left', cause: new Error(''), signal: left, registry: 'undecided', mirror: 'undecided' },
  { what: 'a caller that waited enough', cause: new Error(''), signal: tooLate, registry: 'failed', mirror: 'failed' },
] as const)('$what: $registry for a registry, $mirror for a mirror', ({ cause, signal, registry, mirror }) => {
  expect(verdictOn(cause, signal, 'registry')).toBe(registry);
  expect(verdictOn(cause, signal, 'mirror')).toBe(mirror);
});
