import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import type { RecordKey } from '../../../../src/mirror/ports/record-store.ts';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { gate } from '../../../support/gate.ts';
import { MemoryRecords } from '../../../support/memory-records.ts';
import { noLooseRecords } from '../../../support/no-loose-records.ts';
import { Disk } from './disk.ts';

const day = 24 * 3_600_000;
const app = { upstream: 'docker.io', repository: parseRepository('library/app') };
const team = { upstream: 'docker.io', repository: parseRepository('team/app') };
const digestNamed = (name: string): Digest => digestOf(Buffer.from(name));

test('nothing is evicted while there is room', async () => {
  const disk = new Disk();
  await disk.put({ name: 'a', size: 50, usedAtMs: 1 });
  expect(await disk.space.reserve(50)).toBeDefined();
  expect(disk.left).toEqual(['a']);
});

test('the least recently used content is evicted first, with its records, and only as much as needed', async () => {
  const disk = new Disk();
  await disk.put(
    { name: 'a', size: 30, usedAtMs: 3 },
    { name: 'b', size: 30, usedAtMs: 1 },
    { name: 'c', size: 30, usedAtMs: 2 },
  );
  expect(await disk.space.reserve(50)).toBeDefined();
  expect(disk.left).toEqual(['a']);
  expect([...disk.evicted]).toEqual([digestNamed('b'), digestNamed('c')]);
  const records: RecordKey[] = await Array.fromAsync(disk.records.list());
  expect(records).toEqual([{ kind: 'blob', repositoryId: app, digest: digestNamed('a') }]);
});

test('an image is evicted whole, and a layer that another image needs stays though it was not pulled', async () => {
  const disk = new Disk();
  await disk.put(
    { name: 'm', size: 5, usedAtMs: 1, names: ['a', 'b'] },
    { name: 'a', size: 40, usedAtMs: 2 },
    { name: 'b', size: 30, usedAtMs: 0 },
    { name: 'n', size: 5, usedAtMs: 9, names: ['b', 'c'] },
    { name: 'c', size: 10, usedAtMs: 8 },
  );
  expect(await disk.space.reserve(40)).toBeDefined();
  expect(disk.left).toEqual(['b', 'c', 'n']);
});

test('content in storage.keep stays; if it fills the store, there is no room, and nothing else is evicted', async () => {
  const disk = new Disk({ keep: ['docker.io/library/*'] });
  await disk.put({ name: 'a', size: 80, usedAtMs: 1 }, { name: 'b', size: 10, usedAtMs: 2, repositoryId: team });
  expect(await disk.space.reserve(20)).toBeDefined();
  expect(disk.left).toEqual(['a']);
  expect(await disk.space.reserve(1)).toBeUndefined();
  expect(disk.left).toEqual(['a']);
});

test('content in storage.keep is not read again for every victim', async () => {
  const disk = new Disk({ keep: ['docker.io/library/*'], limits: { maxBytes: 1_000, minFreeBytes: 0, maxFiles: 1e6 } });
  await disk.put(...Array.from({ length: 900 }, (_, usedAtMs) => ({ name: `kept ${usedAtMs}`, size: 1, usedAtMs })));
  await disk.put(...['a', 'b', 'c', 'd'].map((name) => ({ name, size: 25, usedAtMs: 1_000, repositoryId: team })));
  const evictable = vi.spyOn(disk.index, 'evictable');
  for (const _ of ['a', 'b', 'c', 'd']) expect(await disk.space.reserve(25)).toBeDefined();
  expect(disk.left).toEqual([]);
  expect(evictable).toHaveBeenCalledTimes(4);
});

test('what is evicted together leaves the disk together, a bounded number of files at a time', async () => {
  const disk = new Disk({ limits: { maxBytes: 1_000, minFreeBytes: 0, maxFiles: 1e6 } });
  await disk.put(...Array.from({ length: 30 }, (_, usedAtMs) => ({ name: `old ${usedAtMs}`, size: 30, usedAtMs })));
  const removals = gate();
  disk.holdRemovals = removals;
  const reserved = disk.space.reserve(1_000);
  await vi.waitFor(() => expect(disk.removing).toBe(16));
  for (let turn = 0; turn < 50; turn += 1) await nextTurn();
  expect(disk.removing).toBe(16);
  removals.open();
  expect(await reserved).toBeDefined();
  expect(disk.index.contents.size).toBe(0);
});

test('the loose records beside evicted content are checked before there is no room', async () => {
  const told: RecordKey[] = [];
  const contentRemoved = (records: readonly RecordKey[]) => void told.push(...records);
  const disk = new Disk({ loose: { ...noLooseRecords, contentRemoved } });
  await disk.put({ name: 'a', size: 90, usedAtMs: 1 });
  expect(await disk.space.reserve(90)).toBeDefined();
  expect(told).toContainEqual({ kind: 'blob', repositoryId: app, digest: digestNamed('a') });
});

test('the index forgets one content in each turn of the event loop, also of those that are evicted together', async () => {
  const disk = new Disk({ limits: { maxBytes: 1_000, minFreeBytes: 0, maxFiles: 1e6 } });
  await disk.put(...Array.from({ length: 30 }, (_, usedAtMs) => ({ name: `old ${usedAtMs}`, size: 30, usedAtMs })));
  let turn = 0;
  const count = () => {
    turn += 1;
    counted = setImmediate(count);
  };
  let counted = setImmediate(count);
  const turns: number[] = [];
  const forget = disk.index.forget.bind(disk.index);
  vi.spyOn(disk.index, 'forget').mockImplementation((digest) => {
    turns.push(turn);
    return forget(digest);
  });
  await disk.space.reserve(1_000);
  clearImmediate(counted);
  expect(turns).toHaveLength(30);
  expect(new Set(turns).size).toBe(30);
});

test('reservations get their turn during a sweep, and one sweep runs at a time', async () => {
  const disk = new Disk({ unusedForMs: day });
  await disk.put(...Array.from({ length: 50 }, (_, usedAtMs) => ({ name: `old ${usedAtMs}`, size: 1, usedAtMs })));
  const sweep = disk.space.sweep();
  expect(disk.space.sweep()).toBe(sweep);
  expect(await disk.space.reserve(1)).toBeDefined();
  expect(disk.index.contents.size).toBeGreaterThan(40);
  await sweep;
  expect(disk.index.contents.size).toBe(0);
});

test('a sweep requested during another one finds what came too late for that one', async () => {
  const disk = new Disk({ limits: { maxBytes: 40, minFreeBytes: 0, maxFiles: 1e6 } });
  await disk.put({ name: 'a', size: 40, usedAtMs: 1 });
  const watchingSinceMs = vi.spyOn(disk.index, 'watchingSinceMs');
  watchingSinceMs.mockImplementationOnce(async () => {
    await disk.put({ name: 'b', size: 40, usedAtMs: 2 });
    void disk.space.sweep();
    return 0;
  });
  await disk.space.sweep();
  expect(disk.left).toEqual(['b']);
});

test('stop ends a sweep at its next step', async () => {
  const disk = new Disk({ unusedForMs: day });
  await disk.put(...Array.from({ length: 50 }, (_, usedAtMs) => ({ name: `old ${usedAtMs}`, size: 1, usedAtMs })));
  const sweep = disk.space.sweep();
  await disk.space.reserve(1);
  await disk.space.stop(new AbortController().signal);
  await sweep;
  expect(disk.index.contents.size).toBeGreaterThan(40);
});

test('nothing is evicted while the index is being rebuilt: it does not know yet what is kept or belongs to an image', async () => {
  const disk = new Disk({ keep: ['docker.io/library/*'], unusedForMs: day });
  disk.index.isRebuilt = false;
  disk.index.recordContent({ digest: digestNamed('a'), size: 90, usedAtMs: 1, isManifest: false, names: [] });
  await disk.space.sweep();
  expect(await disk.space.reserve(20)).toBeUndefined();
  expect(disk.left).toEqual(['a']);
  expect(await disk.space.reserve(10)).toBeDefined();

  disk.index.isRebuilt = true;
  expect(await disk.space.reserve(20)).toBeDefined();
  expect(disk.left).toEqual([]);
});

test('content that is being read stays', async () => {
  const disk = new Disk();
  await disk.put({ name: 'a', size: 50, usedAtMs: 1 }, { name: 'b', size: 50, usedAtMs: 2 });
  disk.busy.add(digestNamed('a'));
  expect(await disk.space.reserve(50)).toBeDefined();
  expect(disk.left).toEqual(['a']);
});

test('nothing is evicted for content that is larger than the store', async () => {
  const disk = new Disk();
  await disk.put({ name: 'a', size: 50, usedAtMs: 1 });
  expect(await disk.space.reserve(101)).toBeUndefined();
  expect(disk.left).toEqual(['a']);
});

test('a reservation counts until it is written or released', async () => {
  const disk = new Disk();
  const first = await disk.space.reserve(60);
  expect(await disk.space.reserve(41)).toBeUndefined();
  const second = await disk.space.reserve(40);
  first?.wrote(60);
  disk.pendingBytes = 60; // What was written counts as pending now, and not twice.
  expect(await disk.space.reserve(1)).toBeUndefined();
  second?.release();
  second?.release();
  expect(await disk.space.reserve(40)).toBeDefined();
});

test('bytes above the reservation count as pending', async () => {
  const disk = new Disk();
  const small = await disk.space.reserve(10);
  expect(small?.wrote(70)).toBe(10);
  disk.pendingBytes = 70;
  small?.release();
  expect(await disk.space.reserve(31)).toBeUndefined();
  expect(await disk.space.reserve(30)).toBeDefined();
});

test('couldHold evicts nothing', async () => {
  const disk = new Disk();
  await disk.put({ name: 'a', size: 60, usedAtMs: 1 });
  expect(await disk.space.couldHold(100)).toBe(true);
  expect(await disk.space.couldHold(101)).toBe(false);
  expect(disk.left).toEqual(['a']);
});

test('evicted content leaves the caches before its records are removed, and again after: a pull in between may have read them', async () => {
  const told: string[] = [];
  const records = new MemoryRecords();
  const disk: Disk = new Disk({ records, onEvicted: () => told.push(disk.isRemoved ? 'after' : 'before') });
  await disk.put({ name: 'a', size: 100, usedAtMs: 1 });
  expect(await disk.space.reserve(10)).toBeDefined();
  expect(told).toEqual(['before', 'after']);
});

test('partial downloads are dropped before anything that can be served', async () => {
  const disk = new Disk();
  await disk.put({ name: 'a', size: 50, usedAtMs: 1 });
  disk.partialBytes = disk.pendingBytes = 50;
  expect(await disk.space.reserve(50)).toBeDefined();
  expect(disk.left).toEqual(['a']);
});

test('content not pulled for unusedFor is evicted even with free space, and pulled content stays', async () => {
  const disk = new Disk({ unusedForMs: 30 * day });
  const now = disk.clock.now();
  await disk.put(
    { name: 'm', size: 1, usedAtMs: now - 31 * day, names: ['a'] },
    { name: 'a', size: 1, usedAtMs: now - 40 * day },
    { name: 'b', size: 1, usedAtMs: now - 30 * day },
  );
  await disk.space.sweep();
  expect(disk.left).toEqual(['b']);
  disk.clock.advance(1);
  await disk.space.sweep();
  expect(disk.left).toEqual([]);
});

test('the next sweep enforces a lowered limit', async () => {
  const disk = new Disk({ limits: { maxBytes: 40, minFreeBytes: 0, maxFiles: 1e6 } });
  await disk.put({ name: 'a', size: 30, usedAtMs: 2 }, { name: 'b', size: 30, usedAtMs: 1 });
  await disk.space.sweep();
  expect(disk.left).toEqual(['a']);
});

test('concurrent reservations never get more than there is', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(60), { maxLength: 20 }),
      fc.array(fc.nat(30), { maxLength: 5 }),
      async (wanted, sizes) => {
        const disk = new Disk();
        await disk.put(...sizes.map((size, place) => ({ name: `stored ${place}`, size, usedAtMs: place })));
        const reservations = await Promise.all(wanted.map((bytes) => disk.space.reserve(bytes)));
        const promised = wanted
          .filter((_, place) => reservations[place] !== undefined)
          .reduce((sum, bytes) => sum + bytes, 0);
        expect(promised + (await disk.index.totals()).bytes).toBeLessThanOrEqual(100 + (promised === 0 ? 50 : 0));
      },
    ),
  );
});

test('setting the wall clock a year ahead, and back, makes no content old', async () => {
  const disk = new Disk({ unusedForMs: 30 * day });
  await disk.put({ name: 'a', size: 1, usedAtMs: disk.clock.now() - day });
  disk.clock.setWallClock(365 * day);
  await disk.space.sweep();
  expect(disk.left).toEqual(['a']);
  disk.clock.setWallClock(-365 * day);
  disk.clock.advance(29 * day + 1);
  await disk.space.sweep();
  expect(disk.left).toEqual([]);
});
