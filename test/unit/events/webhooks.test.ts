import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { type Event, eventOf, type Occurrence } from '../../../src/events/event.ts';
import { EventQueue, maxWaitingEvents } from '../../../src/events/queue/event-queue.ts';
import type { Outcome } from '../../../src/events/webhooks/next-step.ts';
import { refusedForAtMostMs } from '../../../src/events/webhooks/next-step.ts';
import { gate } from '../../support/gate.ts';
import { eventClock, low, mib, numberOf, RecordingEvents, startWebhooks } from './start-webhooks.ts';

const signal = AbortSignal.timeout(60_000);
const taken: Outcome = { kind: 'answered', status: 204, retryAfterMs: undefined };
const refused: Outcome = { kind: 'answered', status: 400, retryAfterMs: undefined };
const down: Outcome = { kind: 'failed', reason: 'connect' };

/** A receiver that never answers. */
function untilStopped(stopping: AbortSignal): Promise<Outcome> {
  return new Promise((_, reject) => stopping.addEventListener('abort', () => reject(stopping.reason)));
}

const isDown: Occurrence = {
  type: 'io.layerwell.upstream.down',
  subject: 'ghcr.io',
  data: { upstream: 'ghcr.io', endpoint: 'registry' },
};

test('a webhook that is down for ever costs a bounded file, and is told how much it missed', async () => {
  const [last, began] = [gate(), gate()];
  let isDownNow = true;
  const got: Record<string, unknown>[] = [];
  const { webhooks, observer, path, push } = await startWebhooks({
    dead: {
      send: async (event) => {
        began.open();
        if (isDownNow) return down;
        got.push(event);
        if (numberOf(event) === 9_999) last.open();
        return taken;
      },
    },
  });
  for (let number = 0; number < 10_000; number += 1) {
    push(low(number));
    if (number % 500 === 0) await vi.waitUntil(() => webhooks.queueBytes > 0);
  }
  await began.opened;
  await vi.waitFor(() => expect(observer.dropped.length).toBeGreaterThan(5), 20_000);
  const names = await readdir(join(path, 'events'));
  // What was removed since it was listed takes nothing.
  const sizeOf = (name: string) =>
    stat(join(path, 'events', name)).then(
      ({ size }) => size,
      () => 0,
    );
  const sizes = await Promise.all(names.map(sizeOf));
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(mib + 1_000);

  isDownNow = false;
  await last.opened;
  const numbers = got.map(numberOf).filter((number) => number !== undefined);
  const missed = observer.dropped.reduce((sum, { count }) => sum + count, 0);
  expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, place) => 10_000 - numbers.length + place));
  const told = () => got.filter(({ type }) => type === 'io.layerwell.events.dropped');
  const counted = () => told().reduce((sum, { data }) => sum + Object(data).count, 0);
  await vi.waitFor(() => expect(counted()).toBeGreaterThan(0));
  expect(told().every(({ data }) => Object(data).webhook === 'dead')).toBe(true);
  expect(missed).toBeGreaterThanOrEqual(10_000 - numbers.length);
  await webhooks.stop(signal);
});

test('each webhook gets the types that it asks for, and one that asks for nothing that happens keeps no file', async () => {
  const [some, all, done] = [[] as unknown[], [] as unknown[], gate()];
  const { webhooks, path, push } = await startWebhooks({
    some: { types: ['io.layerwell.upstream.down'], send: ({ type }) => (some.push(type), taken) },
    none: { types: ['io.layerwell.tag.moved'], send: () => taken },
    all: {
      send: (event) => {
        all.push(event['type']);
        if (all.length === 4_001) done.open();
        return taken;
      },
    },
  });
  for (let number = 0; number < 4_000; number += 1) push(low(number));
  push(isDown);
  await done.opened;
  await vi.waitFor(() => expect(some).toEqual(['io.layerwell.upstream.down']));
  await vi.waitFor(async () => expect((await readdir(join(path, 'events'))).length).toBeLessThanOrEqual(3));
  await webhooks.stop(signal);
});

test('an event that a receiver refuses for a day is given up, and the next ones follow', async () => {
  const tries: number[] = [];
  const done = gate();
  const { webhooks, observer, push } = await startWebhooks({
    hook: {
      send: (event) => {
        tries.push(numberOf(event));
        if (numberOf(event) === 2) done.open();
        return numberOf(event) === 1 ? refused : taken;
      },
    },
  });
  push(low(1));
  push(low(2));
  await done.opened;
  const refusals = tries.filter((number) => number === 1).length;
  expect(refusals).toBeGreaterThan(refusedForAtMostMs / (5 * 60_000));
  await vi.waitFor(() => expect(observer.results.at(-1)).toBe('delivered'));
  expect(observer.results.filter((result) => result === 'given_up')).toHaveLength(1);
  expect(observer.changes.map(({ state }) => state)).toEqual(['known', 'failing', 'up']);
  await webhooks.stop(signal);
});

test('a webhook that is new gets what happens from now on; one that was there goes on where it was', async () => {
  const old = await startWebhooks({ old: { send: (_, stopping) => untilStopped(stopping) } });
  old.push(low(1));
  await vi.waitFor(() => expect(old.webhooks.oldest()[0]?.oldestAtMs).toBe(eventClock.now()));
  await old.webhooks.stop(signal);

  const [gotOld, gotNew, done] = [[] as number[], [] as number[], gate()];
  const { webhooks, push } = await startWebhooks(
    {
      old: { send: (event) => (gotOld.push(numberOf(event)), taken) },
      new: { send: (event) => (gotNew.push(numberOf(event)), done.open(), taken) },
    },
    old.path,
  );
  push(low(2));
  await done.opened;
  await vi.waitFor(() => expect(gotOld).toEqual([1, 2]));
  expect(gotNew).toEqual([2]);
  await webhooks.stop(signal);
});

test.each(['nonsense', '{"hook":{"segment":"x"}}', '{"hook":{"segment":99,"offset":5}}'])(
  'with a file of positions that says %s, events are sent again rather than lost',
  async (text) => {
    const done = gate();
    const first = await startWebhooks({ hook: { send: () => (done.open(), taken) } });
    first.push(low(1));
    await done.opened;
    await first.webhooks.stop(signal);
    await writeFile(join(first.path, 'events', 'positions.json'), text);
    const got: number[] = [];
    const { webhooks, push } = await startWebhooks(
      { hook: { send: (event) => (got.push(numberOf(event)), taken) } },
      first.path,
    );
    push(low(2));
    const wanted = text.includes('"x"') ? [2] : [1, 2];
    await vi.waitFor(() => expect(got).toEqual(wanted));
    await webhooks.stop(signal);
  },
);

test('what happens while the disk hangs waits in memory up to a bound; then it is counted', async () => {
  const disk = gate();
  const observer = new RecordingEvents();
  const lost: object[] = [];
  const written: number[] = [];
  const queue = new EventQueue({
    log: {
      segmentBytes: mib,
      append: async (jsons) => {
        await disk.opened;
        written.push(jsons.length);
      },
    },
    observer,
    onWritten: () => {},
    onLost: (loss) => lost.push(loss),
  });
  const event: Event = eventOf(low(1), { source: 'urn:test', clock: eventClock });
  queue.push(event);
  await new Promise(setImmediate);
  for (let number = 0; number < maxWaitingEvents + 5; number += 1) queue.push(event);
  expect(observer.dropped).toHaveLength(5);
  disk.open();
  await queue.flushed();
  expect(written.reduce((sum, count) => sum + count, 0)).toBe(maxWaitingEvents + 1);
  expect(lost).toEqual([{ reason: 'backlog', count: 5 }]);
});
