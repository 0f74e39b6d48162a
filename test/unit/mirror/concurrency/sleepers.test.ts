import { expect, test } from 'vitest';
import { Sleepers } from '../../../../src/mirror/concurrency/sleepers.ts';

const never = new AbortController().signal;

/** Whether a sleeper is awake after everything that was settled has run. */
async function isAwake(sleep: Promise<void>): Promise<boolean> {
  let awake = false;
  void sleep.then(() => {
    awake = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  return awake;
}

test('the first bytes wake at once', async () => {
  const sleepers = new Sleepers();
  const sleep = sleepers.sleep(never);
  sleepers.progressed(1);
  expect(await isAwake(sleep)).toBe(true);
});

test('after that a MiB wakes at once, and less a moment later', async () => {
  const sleepers = new Sleepers();
  sleepers.progressed(1);
  const sleep = sleepers.sleep(never);
  sleepers.progressed(1000);
  expect(await isAwake(sleep)).toBe(false);
  await sleep;

  const next = sleepers.sleep(never);
  sleepers.progressed(1000 + 1024 * 1024);
  expect(await isAwake(next)).toBe(true);
});

test('a sleeper that leaves wakes alone', async () => {
  const sleepers = new Sleepers();
  const leaving = new AbortController();
  const one = sleepers.sleep(leaving.signal);
  const other = sleepers.sleep(never);
  leaving.abort();
  expect(await isAwake(one)).toBe(true);
  expect(await isAwake(other)).toBe(false);
  sleepers.wake();
  await other;
});
