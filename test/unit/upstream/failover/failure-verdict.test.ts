import { expect, test } from 'vitest';
import { OciError, UpstreamError } from '../../../../src/oci/errors.ts';
import { RememberedFailure } from '../../../../src/upstream/failover/failing-resources.ts';
import { verdictOn } from '../../../../src/upstream/failover/failure-verdict.ts';

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
