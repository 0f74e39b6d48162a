import { EventEmitter, getEventListeners } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, onTestFinished, test, vi } from 'vitest';
import { abortable, interruptible, timeLimited } from '../../../../src/mirror/concurrency/abortable-wait.ts';
import { gate } from '../../../support/gate.ts';

/** The unhandled rejections so far. */
function unhandledRejections(): unknown[] {
  const seen: unknown[] = [];
  const note = (reason: unknown): void => void seen.push(reason);
  const others = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection').on('unhandledRejection', note);
  onTestFinished(() => {
    process.removeAllListeners('unhandledRejection');
    for (const listener of others) process.on('unhandledRejection', listener);
  });
  return seen;
}

test('a wait ends with the work or with the signal, whichever comes first, and leaves no listener behind', async () => {
  const leaving = new AbortController();
  expect(await abortable(Promise.resolve(1), leaving.signal)).toBe(1);
  await expect(abortable(Promise.reject(new Error('no')), leaving.signal)).rejects.toThrow('no');
  const waiting = abortable(gate().opened, leaving.signal);
  expect(getEventListeners(leaving.signal, 'abort')).toHaveLength(1);
  leaving.abort(new Error('left'));
  await expect(waiting).rejects.toThrow('left');
  expect(getEventListeners(leaving.signal, 'abort')).toHaveLength(0);
});

test('a signal that was aborted before the wait rejects it, though the work is done', async () => {
  const gone = AbortSignal.abort(new Error('left'));
  await expect(abortable(Promise.resolve(1), gone)).rejects.toThrow('left');
  expect(getEventListeners(gone, 'abort')).toHaveLength(0);
});

test('work that fails after its wait has ended is no unhandled rejection', async () => {
  const seen = unhandledRejections();
  const gone = AbortSignal.abort(new Error('left'));
  await expect(abortable(Promise.reject(new Error('failed before')), gone)).rejects.toThrow('left');
  const { promise: work, reject } = Promise.withResolvers<void>();
  await expect(abortable(work, gone)).rejects.toThrow('left');
  reject(new Error('failed later'));
  for (let turn = 0; turn < 3; turn += 1) await nextTurn();
  expect(seen).toEqual([]);
});

test('a wait with a time limit ends with the work or after its time, and leaves no timer behind', async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const late = () => new Error('late');
  expect(await timeLimited(Promise.resolve(1), 100, late)).toBe(1);
  expect(vi.getTimerCount()).toBe(0);
  const waiting = timeLimited(gate().opened, 100, late);
  vi.advanceTimersByTime(100);
  await expect(waiting).rejects.toThrow('late');
});

test('a wait can end with any event, and stops listening either way', async () => {
  const emitter = new EventEmitter();
  const untilClosed = (work: Promise<number>) =>
    interruptible(work, (giveUp) => {
      const leave = (): void => giveUp(new Error('closed'));
      emitter.once('close', leave);
      return () => emitter.off('close', leave);
    });
  expect(await untilClosed(Promise.resolve(2))).toBe(2);
  const { promise: work } = Promise.withResolvers<number>();
  const waiting = untilClosed(work);
  emitter.emit('close');
  await expect(waiting).rejects.toThrow('closed');
  expect(emitter.listenerCount('close')).toBe(0);
});
