import { expect, test } from 'vitest';
import { BriefWait, TooSlow } from '../../../../src/mirror/concurrency/brief-wait.ts';
import { gate } from '../../../support/gate.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const never = { signal: new AbortController().signal };

function briefWait(waitMs: number): { readonly wait: BriefWait; readonly clock: ManualClock } {
  const clock = new ManualClock();
  return { wait: new BriefWait({ clock, waitMs, slowForMs: 30_000 }), clock };
}

test('what comes in time is what came, success or failure', async () => {
  const { wait } = briefWait(60_000);
  expect(await wait.for(Promise.resolve(1), 'ghcr.io', never)).toBe(1);
  await expect(wait.for(Promise.reject(new Error('no')), 'ghcr.io', never)).rejects.toThrow('no');
});

test('what does not come in time is too slow, and its failure later harms nobody', async () => {
  const { wait } = briefWait(1);
  const { promise, reject } = Promise.withResolvers<number>();
  await expect(wait.for(promise, 'ghcr.io', never)).rejects.toBeInstanceOf(TooSlow);
  reject(new Error('later'));
});

test('an upstream that was too slow is not waited for at all for a while, others are', async () => {
  const { wait, clock } = briefWait(500);
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

test('a client that leaves ends its waiting with its own reason', async () => {
  const { wait } = briefWait(60_000);
  const leaving = new AbortController();
  const waiting = wait.for(gate().opened, 'ghcr.io', leaving);
  leaving.abort(new Error('left'));
  await expect(waiting).rejects.toThrow('left');
});

test('an upstream of which one repository was too slow is waited for again once it answers in time', async () => {
  const { wait } = briefWait(500);
  await expect(wait.for(gate().opened, 'ghcr.io', never)).rejects.toBeInstanceOf(TooSlow);
  const answered = gate();
  await expect(wait.for(answered.opened, 'ghcr.io', never)).rejects.toBeInstanceOf(TooSlow);
  answered.open();
  await answered.opened;
  const next = gate();
  setTimeout(() => next.open(), 50);
  expect(await wait.for(next.opened, 'ghcr.io', never)).toBeUndefined();
});

test('an upstream that answers late remains one that is too slow', async () => {
  const { wait, clock } = briefWait(500);
  await expect(wait.for(gate().opened, 'ghcr.io', never)).rejects.toBeInstanceOf(TooSlow);
  const late = gate();
  await expect(wait.for(late.opened, 'ghcr.io', never)).rejects.toBeInstanceOf(TooSlow);
  clock.advance(500);
  late.open();
  await late.opened;
  await expect(wait.for(gate().opened, 'ghcr.io', never)).rejects.toBeInstanceOf(TooSlow);
});
