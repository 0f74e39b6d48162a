import { expect, test } from 'vitest';
import { mayWait, TooManyWaiters, UpstreamWaiters } from '../../../../src/mirror/concurrency/upstream-waiters.ts';
import { gate } from '../../../support/gate.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

/** How many requests each of `upstreams` silent upstreams holds, when any number of clients ask one after another. */
function heldBy(upstreams: number, maxRequests: number): readonly number[] {
  const held: number[] = [];
  for (let ofAll = 0; held.length < upstreams; ) {
    let ofUpstream = 0;
    for (; mayWait({ ofUpstream, ofAll, maxRequests }); ofUpstream += 1) ofAll += 1;
    held.push(ofUpstream);
  }
  return held;
}

test('a silent upstream holds half of the requests, and each further one half of what is left', () => {
  expect(heldBy(1, 4_000)).toEqual([2_000]);
  expect(heldBy(4, 4_000)).toEqual([2_000, 1_000, 500, 250]);
});

test('silent upstreams together never hold all requests', () => {
  const held = heldBy(20, 4_000).reduce((sum, one) => sum + one, 0);
  expect(held).toBe(3_999);
});

test('a mirror that answers one request at a time may wait for an upstream', () => {
  expect(heldBy(1, 1)).toEqual([1]);
});

function started(maxRequests: number) {
  const rejected: string[] = [];
  const door = gate();
  const clock = new ManualClock();
  const observer = { rejected: ({ reason }: { readonly reason: string }) => rejected.push(reason) };
  const waiters = new UpstreamWaiters({ maxRequests, clock, observer });
  return {
    rejected,
    door,
    clock,
    waiters,
    wait: (label: string) => waiters.wait(label, () => door.opened.then(() => label)),
  };
}

test('a request above the limit of an upstream is refused with a time to retry, and its work does not run', async () => {
  const { rejected, door, wait } = started(4);
  const waiting = [wait('silent.test'), wait('silent.test')];
  await expect(wait('silent.test')).rejects.toMatchObject({ reason: 'busy', status: 503, retryAfterSeconds: 2 });
  await expect(wait('silent.test')).rejects.toBeInstanceOf(TooManyWaiters);
  expect(rejected).toEqual(['upstream', 'upstream']);
  const other = wait('other.test');
  door.open();
  expect(await Promise.all([...waiting, other])).toEqual(['silent.test', 'silent.test', 'other.test']);
});

test('a request no longer counts once its work has ended or failed', async () => {
  const { door, wait } = started(2);
  door.open();
  await wait('one.test');
  await wait('one.test');
  const waiters = started(2).waiters;
  const fail = () => waiters.wait('one.test', () => Promise.reject(new Error('failed')));
  await expect(fail()).rejects.toThrow('failed');
  await expect(fail()).rejects.toThrow('failed');
});

test('bodies that come in time count nothing, however many there are', () => {
  const { waiters, rejected } = started(4);
  for (let reader = 0; reader < 100; reader += 1) waiters.body('fast.test');
  expect(rejected).toEqual([]);
});

test('bodies that come slowly count to the share of their upstream, and what becomes slow beyond it is refused', async () => {
  const { waiters, rejected, door, wait } = started(8);
  const bodies = Array.from({ length: 6 }, () => waiters.body('slow.test'));
  for (const body of bodies.slice(0, 4)) body.isSlow();
  expect(() => bodies[4]?.isSlow()).toThrow(TooManyWaiters);
  await expect(wait('slow.test')).rejects.toBeInstanceOf(TooManyWaiters);
  expect(rejected).toEqual(['upstream', 'upstream']);
  const other = [wait('other.test'), wait('other.test')];
  door.open();
  expect(await Promise.all(other)).toHaveLength(2);
});

test('though as many requests as may wait for an upstream do, a body of it is read on', async () => {
  const { waiters, door, wait } = started(8);
  const waiting = [1, 2, 3, 4].map(() => wait('slow.test'));
  await expect(wait('slow.test')).rejects.toBeInstanceOf(TooManyWaiters);
  waiters.admitBody('slow.test');
  expect(() => waiters.body('slow.test').isSlow()).not.toThrow();
  door.open();
  await Promise.all(waiting);
});

test('for a minute after slow bodies were too many, every body counts from its beginning', () => {
  const { waiters, clock } = started(4);
  const [first, second, third] = [1, 2, 3].map(() => waiters.body('slow.test'));
  first?.isSlow();
  second?.isSlow();
  expect(() => third?.isSlow()).toThrow(TooManyWaiters);
  expect(() => waiters.admitBody('slow.test')).toThrow(TooManyWaiters);
  waiters.admitBody('other.test');
  for (const body of [first, second, third]) body?.end();
  const again = [waiters.body('slow.test'), waiters.body('slow.test')];
  expect(() => waiters.body('slow.test')).toThrow(TooManyWaiters);
  clock.advance(60_000);
  waiters.admitBody('slow.test');
  waiters.body('slow.test');
  for (const body of again) body.end();
});

test('a body counts once, and no longer than until its end', () => {
  const { waiters, rejected } = started(4);
  for (let turn = 0; turn < 10; turn += 1) {
    const body = waiters.body('slow.test');
    for (let again = 0; again < 3; again += 1) body.isSlow();
    for (let again = 0; again < 3; again += 1) body.end();
  }
  expect(rejected).toEqual([]);
});
