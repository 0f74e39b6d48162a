import { expect, test } from 'vitest';
import { BriefWait, TooSlow } from '../../../src/mirror/brief-wait.ts';
import { gate } from '../../support/gate.ts';
import { ManualClock } from '../../support/manual-clock.ts';

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
