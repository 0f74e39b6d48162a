import { expect, test } from 'vitest';
import { mayWait, TooManyWaiters, UpstreamWaiters } from '../../../../src/mirror/concurrency/upstream-waiters.ts';
import { gate } from '../../../support/gate.ts';

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
  const waiters = new UpstreamWaiters({ maxRequests, observer: { rejected: ({ reason }) => rejected.push(reason) } });
  return { rejected, door, wait: (label: string) => waiters.wait(label, () => door.opened.then(() => label)) };
}

test('a request above the limit of an upstream is refused with a time to retry, and its work does not run', async () => {
  const { rejected, door, wait } = started(4);
  const waiting = [wait('silent.test'), wait('silent.test')];
  await expect(wait('silent.test')).rejects.toMatchObject({ trouble: 'busy', status: 503, retryAfterSeconds: 2 });
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
  const waiters = new UpstreamWaiters({ maxRequests: 2, observer: { rejected: () => {} } });
  const fail = () => waiters.wait('one.test', () => Promise.reject(new Error('failed')));
  await expect(fail()).rejects.toThrow('failed');
  await expect(fail()).rejects.toThrow('failed');
});
