import { expect, test } from 'vitest';
import { type Part, StartFailure, startInOrder, type StopOptions } from '../../../src/app/lifecycle.ts';
import { gate } from '../../support/gate.ts';

interface WatchedPart extends Part {
  readonly stops: StopOptions[];
}

function part(name: string, work: Partial<Pick<Part, 'start' | 'stop'>> = {}): WatchedPart {
  const stops: StopOptions[] = [];
  return {
    name,
    stops,
    start: async () => work.start?.(),
    stop: async (options) => {
      stops.push(options);
      await work.stop?.(options);
    },
  };
}

const failing = (message: string) => async (): Promise<never> => Promise.reject(new Error(message));
const hanging = () => gate().opened;

test('the reason for a failed start is reported, also when another part then fails to stop', async () => {
  const parts = [part('index', { stop: failing('the disk is gone') }), part('listener', { start: failing('in use') })];
  const failure: unknown = await startInOrder(parts).catch((error: unknown) => error);
  expect(failure).toMatchObject({ message: 'starting listener', cause: { message: 'in use' } });
  expect(failure instanceof StartFailure && failure.stopFailures).toMatchObject([
    { message: 'stopping index', cause: { message: 'the disk is gone' } },
  ]);
});

test('the reason for a failed start is reported, also when another part then never stops', async () => {
  const parts = [part('scrubber', { stop: hanging }), part('listener', { start: failing('in use') })];
  await expect(startInOrder(parts, { graceMs: 10 })).rejects.toMatchObject({ cause: { message: 'in use' } });
});

test('a stop does not wait for a part that hangs at start', async () => {
  const begun = gate();
  const start = () => {
    begun.open();
    return hanging();
  };
  const [first, second] = [part('lock'), part('index', { start })];
  const stopping = new AbortController();
  const starting = startInOrder([first, second], { signal: stopping.signal });
  await begun.opened;
  stopping.abort(new Error('asked to stop'));
  await expect(starting).rejects.toMatchObject({ message: 'starting index', cause: { message: 'asked to stop' } });
  expect(first.stops).toHaveLength(1);
});

test('a part that never stops is abandoned soon after the deadline; all others are stopped and get the deadline', async () => {
  const [lock, mirror, listener] = [part('lock'), part('mirror', { stop: hanging }), part('listener')];
  const stop = await startInOrder([lock, mirror, listener], { graceMs: 10 });
  await expect(stop(10)).rejects.toThrow(
    'some parts did not stop cleanly: stopping mirror: it did not end within 10 ms after the deadline',
  );
  expect(listener.stops).toMatchObject([{ othersEnded: true }]);
  expect(mirror.stops).toMatchObject([{ othersEnded: true }]);
  expect(lock.stops).toMatchObject([{ othersEnded: false }]);
});

test('any number of hanging parts together take at most twice the grace time of one', async () => {
  const parts = Array.from({ length: 20 }, (_, index) => part(`part ${index}`, { stop: hanging }));
  const stop = await startInOrder(parts, { graceMs: 100 });
  const startedAt = performance.now();
  await expect(stop(0)).rejects.toThrow('some parts did not stop cleanly');
  expect(performance.now() - startedAt).toBeLessThan(2_000);
});

test('a part has all its time until the deadline, and a second signal ends that', async () => {
  const ending = gate();
  const [lock, mirror] = [part('lock'), part('mirror', { stop: () => ending.opened })];
  const stop = await startInOrder([lock, mirror], { graceMs: 0 });
  const stopped = stop(3_600_000);
  ending.open();
  await stopped;
  expect(lock.stops).toMatchObject([{ othersEnded: true }]);

  const stopAgain = await startInOrder([part('mirror', { stop: hanging })], { graceMs: 10 });
  const force = new AbortController();
  const stopping = stopAgain(3_600_000, { force: force.signal });
  force.abort();
  await expect(stopping).rejects.toThrow('some parts did not stop cleanly');
});
