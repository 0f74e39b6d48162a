import { expect, test } from 'vitest';
import { SoftTimeout, TooSlow } from '../../../../src/mirror/concurrency/soft-timeout.ts';
import { gate } from '../../../support/gate.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const never = { signal: new AbortController().signal };

function softTimeout(waitMs: number): { readonly wait: SoftTimeout; readonly clock: ManualClock } {
  const clock = new ManualClock();
  return { wait: new SoftTimeout({ clock, waitMs, slowForMs: 30_000 }), clock };
}

test('an answer in time is passed on, success or failure', async () => {
  const { wait } = softTimeout(60_000);
  expect(await wait.for(Promise.resolve(1), 'ghcr.io', never)).toBe(1);
  await expect(wait.for(Promise.reject(new Error('no')), 'ghcr.io', never)).rejects.toThrow('no');
});

test('a late answer is too slow, and its later failure is no unhandled rejection', async () => {
  const { wait } = softTimeout(1);
  const { promise, reject } = Promise.withResolvers<number>();
  await expect(wait.for(promise, 'ghcr.io', never)).rejects.toBeInstanceOf(TooSlow);
  reject(new Error('later'));
});

test('after a timeout no request waits for that upstream for a while; requests to others wait', async () => {
  const { wait, clock } = softTimeout(500);
  const waitedMs = async (label: string) => {
    const startedAt = performance.now();
    await expect(wait.for(gate().opened, label, never)).rejects.toBeInstanceOf(TooSlow);
    return performance.now() - startedAt;
  };
  expect(await waitedMs('ghcr.io')).toBeGreaterThan(400);
  expect(await waitedMs('ghcr.io')).toBeLessThan(400);
  expect(await waitedMs('quay.io')).toBeGreaterThan(400);
  clock.advance(30_000);
  expect(await waitedMs('ghcr.io')).toBeGreaterThan(400);
});

test('a client that leaves stops waiting with its own reason', async () => {
  const { wait } = softTimeout(60_000);
  const leaving = new AbortController();
  const waiting = wait.for(gate().opened, 'ghcr.io', leaving);
  leaving.abort(new Error('left'));
  await expect(waiting).rejects.toThrow('left');
});

test('requests wait again once the upstream has answered in time', async () => {
  const { wait } = softTimeout(500);
  await expect(wait.for(gate().opened, 'ghcr.io', never)).rejects.toBeInstanceOf(TooSlow);
  const answered = gate();
  await expect(wait.for(answered.opened, 'ghcr.io', never)).rejects.toBeInstanceOf(TooSlow);
  answered.open();
  await answered.opened;
  const next = gate();
  setTimeout(() => next.open(), 50);
  expect(await wait.for(next.opened, 'ghcr.io', never)).toBeUndefined();
});

test('an upstream that answers late still counts as slow', async () => {
  const { wait, clock } = softTimeout(500);
  await expect(wait.for(gate().opened, 'ghcr.io', never)).rejects.toBeInstanceOf(TooSlow);
  const late = gate();
  await expect(wait.for(late.opened, 'ghcr.io', never)).rejects.toBeInstanceOf(TooSlow);
  clock.advance(500);
  late.open();
  await late.opened;
  await expect(wait.for(gate().opened, 'ghcr.io', never)).rejects.toBeInstanceOf(TooSlow);
});
