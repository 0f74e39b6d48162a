import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { StoreWatch } from '../../../../src/mirror/concurrency/abortable-wait.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
});
afterEach(() => {
  vi.useRealTimers();
});

test('a step that takes five seconds is given up; the store hangs until it has ended, and what it made is undone', async () => {
  const watch = new StoreWatch();
  const step = Promise.withResolvers<string>();
  const undone: string[] = [];
  const waited = watch.inTime(step.promise, (made) => undone.push(made));
  waited.catch(() => {});
  await vi.advanceTimersByTimeAsync(4_999);
  expect(watch.hangs).toBe(false);
  await vi.advanceTimersByTimeAsync(1);
  await expect(waited).rejects.toThrow('the store did not answer within 5 s');
  expect(watch.hangs).toBe(true);
  step.resolve('a file');
  await vi.advanceTimersByTimeAsync(0);
  expect(undone).toEqual(['a file']);
  expect(watch.hangs).toBe(false);
});

test('work of which a step ends within five seconds is waited for five seconds longer, and no more; one step is not', async () => {
  const watch = new StoreWatch();
  const ends = [4_000, 1_000, 4_000];
  const slow = watch.whileProgressing(new Promise(() => {}), () => {});
  let failure: unknown;
  slow.catch((cause: unknown) => (failure = cause));
  for (const ms of ends) {
    await vi.advanceTimersByTimeAsync(ms);
    expect({ failure, hangs: watch.hangs }).toEqual({ failure: undefined, hangs: false });
    watch.progressed();
  }
  await vi.advanceTimersByTimeAsync(1_000);
  expect(failure).toMatchObject({ message: 'the store did not answer within 10 s' });
  expect(watch.hangs).toBe(true);
  const step = watch.inTime(new Promise(() => {}));
  step.catch((cause: unknown) => (failure = cause));
  watch.progressed();
  await vi.advanceTimersByTimeAsync(5_000);
  expect(failure).toMatchObject({ message: 'the store did not answer within 5 s' });
});

test('a step that fails late ends the hang too', async () => {
  const watch = new StoreWatch();
  const step = Promise.withResolvers<string>();
  const waited = watch.inTime(step.promise);
  waited.catch(() => {});
  await vi.advanceTimersByTimeAsync(5_000);
  step.reject(new Error('EIO'));
  await vi.advanceTimersByTimeAsync(0);
  await expect(waited).rejects.toThrow('did not answer');
  expect(watch.hangs).toBe(false);
});

test('a step in time is neither undone nor late', async () => {
  const watch = new StoreWatch();
  const undone: string[] = [];
  expect(await watch.inTime(Promise.resolve('a file'), (made) => undone.push(made))).toBe('a file');
  await vi.advanceTimersByTimeAsync(60_000);
  expect(undone).toEqual([]);
  expect(watch.hangs).toBe(false);
});

test('the end of a download is waited for however long, and told of once after five seconds', async () => {
  const watch = new StoreWatch();
  const end = Promise.withResolvers<string>();
  let told = 0;
  const waited = watch.outlast(end.promise, () => {
    told += 1;
  });
  await vi.advanceTimersByTimeAsync(4_999);
  expect(told).toBe(0);
  await vi.advanceTimersByTimeAsync(60_000);
  expect({ told, hangs: watch.hangs }).toEqual({ told: 1, hangs: false });
  end.resolve('kept');
  expect(await waited).toBe('kept');
});

test('the store hangs once the ends of four downloads take too long, until one of them has ended', async () => {
  const watch = new StoreWatch();
  const ends = Array.from({ length: 4 }, () => Promise.withResolvers<void>());
  const waited = ends.map(({ promise }) => watch.outlast(promise, () => {}));
  await vi.advanceTimersByTimeAsync(5_000);
  expect(watch.hangs).toBe(true);
  ends[0]?.resolve();
  await waited[0];
  expect(watch.hangs).toBe(false);
  for (const { resolve } of ends) resolve();
  await Promise.all(waited);
});
