import { expect, onTestFinished, test, vi } from 'vitest';
import { RatedSource } from '../../../../src/mirror/concurrency/upstream-waiters.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const into = Buffer.alloc(100_000);

/** A body that sends so many bytes after so long, again and again, or nothing. */
function started({ isRefused = false }: { readonly isRefused?: boolean } = {}) {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const clock = new ManualClock();
  const events: string[] = [];
  let deliver = Promise.withResolvers<number>();
  const upstream = { sentBytes: 0 };
  const source = new RatedSource({
    clock,
    receivedBytes: () => upstream.sentBytes,
    minBytesPerSecond: 1_000,
    body: {
      isSlow: () => {
        events.push('slow');
        if (isRefused) throw new Error('too many');
      },
      caughtUp: () => void events.push('caught up'),
      end: () => void events.push('end'),
    },
    source: {
      read: () => deliver.promise,
      [Symbol.asyncDispose]: async () => {
        events.push('disposed');
        deliver.reject(new Error('the reader has left'));
      },
    },
  });
  const pass = async (ms: number) => {
    clock.advance(ms);
    await vi.advanceTimersByTimeAsync(ms);
  };
  /** Reads once; the bytes come after `ms`. */
  const receive = async (bytes: number, ms: number) => {
    const reading = source.read(into, 0);
    await pass(ms);
    deliver.resolve(bytes);
    await reading;
    deliver = Promise.withResolvers();
  };
  return { source, upstream, events, clock, pass, receive };
}

test('a body without bytes for three seconds is slow', async () => {
  const { source, events, pass } = started();
  source.read(into, 0).catch(() => {});
  await pass(2_999);
  expect(events).toEqual([]);
  await pass(1);
  expect(events).toEqual(['slow']);
});

test('a body whose timer was late is slow with the next read, and no timer is set for the past', async () => {
  const { events, clock, pass, receive } = started();
  const set = vi.spyOn(globalThis, 'setTimeout');
  const late = receive(0, 0);
  clock.advance(3_009); // The event loop was busy: the bytes come before the timer.
  await late;
  await receive(0, 0);
  await pass(0);
  expect(events).toEqual(['slow']);
  expect(set.mock.calls.filter(([, ms]) => (ms ?? 0) < 0)).toEqual([]);
});

test('a body that trickles is slow once it is three seconds behind the minimum rate, and is reported once', async () => {
  const { events, receive } = started();
  for (let byte = 0; byte < 5; byte += 1) await receive(1, 500);
  expect(events).toEqual([]);
  for (let byte = 0; byte < 5; byte += 1) await receive(1, 500);
  expect(events).toEqual(['slow']);
});

test('a body that has caught up with the minimum rate is not slow, until it falls behind again', async () => {
  const { events, receive } = started();
  await receive(1_000, 4_000);
  await receive(2_999, 0);
  expect(events).toEqual(['slow']);
  await receive(1, 0);
  expect(events).toEqual(['slow', 'caught up']);
  await receive(1, 3_000);
  expect(events).toEqual(['slow', 'caught up', 'slow']);
});

test('a body at the minimum rate is never slow, nor is one that waits for its client', async () => {
  const { events, receive, pass } = started();
  for (let second = 0; second < 60; second += 1) await receive(1_000, 1_000);
  await pass(3_600_000);
  await receive(1, 1_000);
  expect(events).toEqual([]);
});

test('a body whose earlier bytes arrive at the minimum rate is not slow for a reader that waits for later ones', async () => {
  const { source, upstream, events, pass } = started();
  source.read(into, 0).catch(() => {});
  for (let second = 0; second < 60; second += 1) {
    upstream.sentBytes += 1_000;
    await pass(1_000);
  }
  expect(events).toEqual([]);
  await pass(6_000);
  expect(events).toEqual(['slow']);
});

test('the reader of one slow body too many gets an error, and the body is closed once', async () => {
  const { source, events, pass } = started({ isRefused: true });
  const reading = source.read(into, 0);
  await Promise.all([expect(reading).rejects.toThrow('too many'), pass(3_000)]);
  await expect(source.read(into, 0)).rejects.toThrow('too many');
  await source[Symbol.asyncDispose]();
  expect(events).toEqual(['slow', 'disposed', 'end']);
});
