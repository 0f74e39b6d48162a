import { expect, test } from 'vitest';
import { abortable } from '../../../../src/mirror/concurrency/abortable-wait.ts';
import type { Waiting } from '../../../../src/mirror/ports/waiting.ts';
import { type Flight, SingleFlight } from '../../../../src/mirror/concurrency/single-flight.ts';
import { gate } from '../../../support/gate.ts';

const never: Waiting = { signal: new AbortController().signal };

/** Work that ends when the test lets it, and how often it was begun. */
function heldWork<Value>(value: Value) {
  const door = gate();
  const signals: AbortSignal[] = [];
  const start = async ({ signal }: Waiting): Promise<Value> => {
    signals.push(signal);
    await abortable(door.opened, signal);
    return value;
  };
  return { door, signals, start };
}

test('callers of one key share one run; those of another have their own', async () => {
  const flights = new SingleFlight<number>();
  const { door, signals, start } = heldWork(42);
  const answers = Promise.all([
    flights.run('a', start, never),
    flights.run('a', start, never),
    flights.run('b', start, never),
  ]);
  door.open();
  expect(await answers).toEqual([
    { value: 42, collapsed: false },
    { value: 42, collapsed: true },
    { value: 42, collapsed: false },
  ]);
  expect(signals).toHaveLength(2);
});

test('a failure is shared like a success, and not remembered', async () => {
  const flights = new SingleFlight<number>();
  const failing = async (): Promise<number> => Promise.reject(new Error('no'));
  const both = [flights.run('a', failing, never), flights.run('a', failing, never)];
  for (const one of both) await expect(one).rejects.toThrow('no');
  expect(await flights.run('a', async () => 1, never)).toEqual({ value: 1, collapsed: false });
});

test('a caller that leaves does not disturb the others; the work is aborted when the last has left', async () => {
  const flights = new SingleFlight<number>();
  const { signals, start } = heldWork(42);
  const [one, other] = [new AbortController(), new AbortController()];
  const first = flights.run('a', start, one);
  const second = flights.run('a', start, other);
  one.abort(new Error('the first left'));
  await expect(first).rejects.toThrow('the first left');
  expect(signals[0]?.aborted).toBe(false);
  other.abort(new Error('the second left'));
  await expect(second).rejects.toThrow('the second left');
  expect(signals[0]?.aborted).toBe(true);
});

test('a caller that comes after all have left starts a new run', async () => {
  const flights = new SingleFlight<number>();
  const { door, signals, start } = heldWork(42);
  const leaving = new AbortController();
  const first = flights.run('a', start, leaving);
  leaving.abort(new Error('left'));
  await expect(first).rejects.toThrow('left');
  const second = flights.run('a', start, never);
  door.open();
  expect(await second).toEqual({ value: 42, collapsed: false });
  expect(signals).toHaveLength(2);
});

test('a caller whose signal is aborted already starts nothing', async () => {
  const flights = new SingleFlight<number>();
  const { signals, start } = heldWork(42);
  await expect(flights.run('a', start, { signal: AbortSignal.abort(new Error('gone')) })).rejects.toThrow('gone');
  expect(signals).toHaveLength(0);
});

test('a run that is told to keep running survives its callers, and can be joined again', async () => {
  const flights = new SingleFlight<number>();
  const { door, signals, start } = heldWork(42);
  const leaving = new AbortController();
  const first = flights.run('a', start, leaving);
  const going = flights.keepRunning('a');
  leaving.abort(new Error('left'));
  await expect(first).rejects.toThrow('left');
  expect(signals[0]?.aborted).toBe(false);
  const second = flights.run('a', start, never);
  door.open();
  expect(await second).toEqual({ value: 42, collapsed: true });
  expect(await going).toBe(42);
  expect(signals).toHaveLength(1);
  expect(flights.keepRunning('a')).toBeUndefined();
});

test('a run that lasts longer than its answer is not aborted, and gives later callers the same answer until it is over', async () => {
  const flights = new SingleFlight<string>();
  const rest = gate();
  const signals: AbortSignal[] = [];
  const start = async (flight: Flight): Promise<string> => {
    signals.push(flight.signal);
    flight.lastUntil(rest.opened);
    return 'early';
  };
  expect(await flights.run('a', start, never)).toEqual({ value: 'early', collapsed: false });
  expect(await flights.run('a', start, never)).toEqual({ value: 'early', collapsed: true });
  expect(signals.map(({ aborted }) => aborted)).toEqual([false]);
  rest.open();
  await expect.poll(() => flights.run('a', start, never)).toEqual({ value: 'early', collapsed: false });
});

test('a run that lasts longer than its answer is over when its rest fails, or when it has no answer', async () => {
  const flights = new SingleFlight<string>();
  const failing = async (flight: Flight): Promise<string> => {
    flight.lastUntil(Promise.reject(new Error('late failure')));
    return 'early';
  };
  await flights.run('a', failing, never);
  await expect.poll(() => flights.run('a', failing, never)).toEqual({ value: 'early', collapsed: false });
  const throwing = async (flight: Flight): Promise<string> => {
    flight.lastUntil(new Promise(() => {}));
    throw new Error('no answer');
  };
  await expect(flights.run('b', throwing, never)).rejects.toThrow('no answer');
  expect(await flights.run('b', async () => 'next', never)).toEqual({ value: 'next', collapsed: false });
});

test('a caller that only joins starts nothing, and keeps a run from being aborted', async () => {
  const flights = new SingleFlight<number>();
  const { door, signals, start } = heldWork(42);
  expect(await flights.join('a', never)).toBeUndefined();
  const leaving = new AbortController();
  const first = flights.run('a', start, leaving);
  const joined = flights.join('a', never);
  leaving.abort(new Error('left'));
  await expect(first).rejects.toThrow('left');
  expect(signals.map(({ aborted }) => aborted)).toEqual([false]);
  door.open();
  expect(await joined).toEqual({ value: 42, collapsed: true });
});
