import { once } from 'node:events';
import { expect, test } from 'vitest';
import { type LosableIndex, Rebuilder } from '../../../src/index/rebuilder.ts';
import type { BlobStore } from '../../../src/mirror/ports/blob-store.ts';
import type { RecordStore } from '../../../src/mirror/ports/record-store.ts';
import { gate } from '../../support/gate.ts';
import { idleRebuild } from '../../support/idle-rebuild.ts';

/** A store that is walked once for each entry: `fails`, or lists nothing. */
function rebuilderOver(
  walks: readonly ('fails' | 'succeeds' | 'hangs')[],
  { needsRebuild = true, hasFailingScan = false, isCrashed = false } = {},
) {
  const left = [...walks];
  const events: string[] = [];
  const completed = gate();
  const hanging = gate();
  const proceed = gate();
  const waits: { readonly ms: number; readonly end: () => void }[] = [];
  const completeRebuild = async () => {
    Object.assign(index, { needsRebuild: false });
    events.push('complete');
    completed.open();
  };
  const index: LosableIndex = {
    needsRebuild,
    changed: isCrashed ? { contents: [], records: [] } : undefined,
    lossReason: 'it is gone',
    whenLost: async ({ signal }) => {
      if (!index.needsRebuild && !signal.aborted) await once(signal, 'abort');
    },
    whenCounted: async () => {},
    ...idleRebuild,
    completeRebuild,
    completeLookAgain: completeRebuild,
  };
  async function* list(): ReturnType<BlobStore['list']> {
    const walk = left.shift();
    events.push(`walk ${walk}`);
    if (walk === 'hangs') {
      hanging.open();
      await proceed.opened;
    }
    if (walk === 'fails') throw new Error('the disk is away');
    yield* [];
  }
  async function* noRecords(): ReturnType<RecordStore['list']> {
    yield* [];
  }
  async function* failing(): ReturnType<BlobStore['list']> {
    yield* [];
    throw new Error('no thread can be started');
  }
  const scan = () => ({
    store: { list: failing, readAll: async () => undefined },
    records: { list: noRecords, read: async () => undefined },
  });
  const waiting = [gate(), gate(), gate()];
  const rebuilder = new Rebuilder({
    store: { list, readAll: async () => undefined, statusOf: async () => undefined },
    records: { list: noRecords, read: async () => undefined, remove: async () => {} },
    index,
    scan: hasFailingScan ? scan : undefined,
    observer: { internalError: ({ cause }) => events.push(String(cause)), indexRebuilt: () => events.push('counted') },
    onChange: (state) => events.push(state),
    wait: (ms, signal) =>
      new Promise((resolve, reject) => {
        signal.addEventListener('abort', () => reject(new Error('stopped')));
        waits.push({ ms, end: () => resolve(undefined) });
        waiting[waits.length - 1]?.open();
      }),
  });
  return { rebuilder, events, waits, waiting, completed, hanging, proceed };
}

test('a complete index is not rebuilt', async () => {
  const { rebuilder, events } = rebuilderOver([], { needsRebuild: false });
  await rebuilder.start();
  await rebuilder.stop();
  expect(events).toEqual([]);
});

test('start does not wait for the rebuild, and stop ends it', async () => {
  const { rebuilder, events, hanging, proceed } = rebuilderOver(['hangs']);
  await rebuilder.start();
  await hanging.opened;
  const stopped = rebuilder.stop();
  proceed.open();
  await stopped;
  expect(events).not.toContain('Error: the disk is away');
  expect(events.slice(0, 2)).toEqual(['rebuilding', 'walk hangs']);
});

test('a failed rebuild is reported and tried again soon, then less often', async () => {
  const { rebuilder, events, waits, waiting, completed } = rebuilderOver(['fails', 'fails', 'succeeds']);
  await rebuilder.start();
  await waiting[0]?.opened;
  expect(events).toEqual(['rebuilding', 'walk fails', 'Error: the disk is away']);
  waits[0]?.end();
  await waiting[1]?.opened;
  waits[1]?.end();
  await completed.opened;
  await rebuilder.stop();
  expect(waits.map(({ ms }) => ms)).toEqual([1_000, 2_000]);
  expect(events.slice(5)).toEqual(['walk succeeds', 'complete', 'counted', 'rebuilt']);
});

test('stop does not wait for the next try', async () => {
  const { rebuilder, events, waiting } = rebuilderOver(['fails', 'succeeds']);
  await rebuilder.start();
  await waiting[0]?.opened;
  await rebuilder.stop();
  expect(events).toEqual(['rebuilding', 'walk fails', 'Error: the disk is away']);
});

test('a rebuild whose thread fails is tried again without one', async () => {
  const { rebuilder, events, waits, waiting, completed } = rebuilderOver(['succeeds'], { hasFailingScan: true });
  await rebuilder.start();
  await waiting[0]?.opened;
  waits[0]?.end();
  await completed.opened;
  await rebuilder.stop();
  expect(events.slice(1)).toEqual([
    'Error: no thread can be started',
    'walk succeeds',
    'complete',
    'counted',
    'rebuilt',
  ]);
});

test('what is looked at again after a crash is not counted as a rebuild', async () => {
  const { rebuilder, events, completed } = rebuilderOver([], { isCrashed: true });
  await rebuilder.start();
  await completed.opened;
  await rebuilder.stop();
  expect(events).toEqual(['rebuilding', 'complete', 'rebuilt']);
});
