import { expect, test } from 'vitest';
import { ProgressWaiters } from '../../../../src/mirror/concurrency/abortable-wait.ts';

const never = new AbortController().signal;

/** Whether a waiting reader was woken after everything that was settled has run. */
async function isAwake(wait: Promise<void>): Promise<boolean> {
  let awake = false;
  void wait.then(() => {
    awake = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  return awake;
}

test('the first bytes wake readers at once', async () => {
  const waiters = new ProgressWaiters();
  const wait = waiters.wait(never);
  waiters.progressed(1);
  expect(await isAwake(wait)).toBe(true);
});

test('after that a MiB wakes them at once, and less a moment later', async () => {
  const waiters = new ProgressWaiters();
  waiters.progressed(1);
  const wait = waiters.wait(never);
  waiters.progressed(1000);
  expect(await isAwake(wait)).toBe(false);
  await wait;

  const next = waiters.wait(never);
  waiters.progressed(1000 + 1024 * 1024);
  expect(await isAwake(next)).toBe(true);
});

test('a reader that leaves is woken alone', async () => {
  const waiters = new ProgressWaiters();
  const leaving = new AbortController();
  const one = waiters.wait(leaving.signal);
  const other = waiters.wait(never);
  leaving.abort();
  expect(await isAwake(one)).toBe(true);
  expect(await isAwake(other)).toBe(false);
  waiters.wake();
  await other;
});
