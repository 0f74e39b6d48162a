import { expect, test, vi } from 'vitest';
import { looseLimits, LooseRecords } from '../../../../src/mirror/eviction/loose-records.ts';
import type { RecordKey } from '../../../../src/mirror/ports/record-store.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { recordPath } from '../../../../src/storage/layout.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { MemoryIndex } from '../../../support/memory-index.ts';
import { MemoryRecords } from '../../../support/memory-records.ts';

const never = new AbortController().signal;
const day = 24 * 3_600_000;
const app = { upstream: 'docker.io', repository: parseRepository('library/app') };
const digestNamed = (name: string) => digestOf(Buffer.from(name));
const referrersOf = (name: string): RecordKey => ({ kind: 'referrers', repositoryId: app, digest: digestNamed(name) });
const listing = { referrers: [{}], fetchedAtMs: 0 };

function started({ newest = 1, maxUnchecked = 100, records = new MemoryRecords() } = {}) {
  const index = new MemoryIndex();
  const clock = new ManualClock();
  const forgotten: string[] = [];
  let written = 0;
  const loose: LooseRecords = new LooseRecords({
    records,
    index,
    clock,
    newest,
    maxUnchecked,
    removeTag: async (key) => {
      forgotten.push(key.tag);
      await loose.remove(key);
    },
    forgetTag: ({ tag }) => forgotten.push(tag),
    onWritten: () => {
      written += 1;
    },
  });
  const store = (name: string) =>
    index.recordContent({ digest: digestNamed(name), size: 1, isManifest: false, names: [], usedAtMs: 0 });
  const has = (key: RecordKey) => records.written.has(recordPath(key));
  const left = (...names: readonly string[]) => names.filter((name) => has(referrersOf(name)));
  return { index, clock, loose, records, forgotten, store, has, left, writes: () => written };
}

test('loose records are dropped least recently used first, except for the newest', async () => {
  const { loose, left } = started();
  for (const name of ['a', 'b', 'c', 'd']) await loose.write(referrersOf(name), listing);
  await loose.read(referrersOf('a'));
  expect(await loose.drop(1)).toBe(1);
  expect(left('a', 'b', 'c', 'd')).toEqual(['a', 'c', 'd']);
  expect(await loose.drop(10)).toBe(2);
  expect(left('a', 'b', 'c', 'd')).toEqual(['a']);
});

test('a record that stored content needs stays until the content is removed', async () => {
  const { loose, left, store, index } = started({ newest: 0 });
  store('a');
  for (const name of ['a', 'b']) await loose.write(referrersOf(name), listing);
  expect(await loose.drop(10)).toBe(1);
  expect(left('a', 'b')).toEqual(['a']);
  await index.forget(digestNamed('a'));
  loose.contentRemoved([{ kind: 'manifest', repositoryId: app, digest: digestNamed('a') }]);
  expect(await loose.drop(10)).toBe(0);
  expect(await loose.dropFormerlyNeeded(10)).toBe(1);
  expect(left('a')).toEqual([]);
});

test('records that are needed are not kept in memory: no sweep and no shortage looks at them again before a day has passed', async () => {
  const { loose, store, index, clock } = started({ newest: 0 });
  for (let number = 0; number < 500; number += 1) {
    store(String(number));
    await loose.write(referrersOf(String(number)), listing);
  }
  await loose.sweep({ signal: never });
  await loose.drop(1_000);
  const looks = vi.spyOn(index, 'isNeeded');
  await loose.dropFormerlyNeeded(1_000);
  await loose.sweep({ signal: never });
  expect(looks).toHaveBeenCalledTimes(0);
  clock.advance(day);
  await loose.sweep({ signal: never });
  expect(looks).toHaveBeenCalledTimes(500);
});

test('content that is removed in another way leaves records that a sweep finds within a day', async () => {
  const { loose, store, index, clock, left } = started({ newest: 0 });
  store('a');
  await loose.write(referrersOf('a'), listing);
  await loose.sweep({ signal: never });
  await index.forget(digestNamed('a'));
  clock.advance(day);
  await loose.sweep({ signal: never });
  expect(await loose.drop(10)).toBe(1);
  expect(left('a')).toEqual([]);
});

test('what is noted of evicted content is bounded', async () => {
  const { loose, index } = started({ newest: 0, maxUnchecked: 20 });
  for (let number = 0; number < 500; number += 1)
    loose.contentRemoved([{ kind: 'manifest', repositoryId: app, digest: digestNamed(String(number)) }]);
  const looks = vi.spyOn(index, 'isNeeded');
  await loose.dropFormerlyNeeded(1);
  expect(looks).toHaveBeenCalledTimes(20);
});

test('records of an earlier process beyond the bound are removed while they are found', async () => {
  const records = new MemoryRecords();
  const tag = (number: number): RecordKey => ({ kind: 'tag', repositoryId: app, tag: parseTag(`v${number}`) });
  for (let number = 0; number < 500; number += 1) await records.write(tag(number), {});
  const { loose, forgotten } = started({ newest: 0, maxUnchecked: 20, records });
  await loose.sweep({ signal: never });
  expect([records.written.size, forgotten.length]).toEqual([20, 480]);
});

test('a tag without stored content is forgotten together with its record', async () => {
  const { loose, forgotten, has } = started({ newest: 0 });
  const key: RecordKey = { kind: 'tag', repositoryId: app, tag: parseTag('v1') };
  await loose.write(key, {});
  expect(await loose.drop(10)).toBe(1);
  expect([forgotten, has(key)]).toEqual([['v1'], false]);
});

test('a loose record is dropped a week after its last use, even with free space', async () => {
  const { loose, clock, left } = started();
  await loose.write(referrersOf('a'), listing);
  clock.advance(7 * day);
  await loose.sweep({ signal: never });
  expect(left('a')).toEqual(['a']);
  clock.advance(1);
  await loose.sweep({ signal: never });
  expect(left('a')).toEqual([]);
});

test('the number of loose records is bounded, even with free space', async () => {
  const { loose, records, writes } = started({ maxUnchecked: 20 });
  for (let number = 0; number < 200; number += 1) await loose.write(referrersOf(String(number)), listing);
  expect(records.written.size).toBeLessThanOrEqual(20);
  expect(writes()).toBe(200);
});

test('loose records of the previous process are found by the first sweep', async () => {
  const records = new MemoryRecords();
  for (const name of ['a', 'b']) await records.write(referrersOf(name), listing);
  const { loose, left, store } = started({ newest: 0, records });
  store('a');
  expect(await loose.drop(10)).toBe(0);
  await loose.sweep({ signal: never });
  expect(await loose.drop(10)).toBe(1);
  expect(left('a', 'b')).toEqual(['a']);
});

test('nothing is dropped while the index is being rebuilt', async () => {
  const { loose, index, left } = started({ newest: 0 });
  index.isRebuilt = false;
  await loose.write(referrersOf('a'), listing);
  expect(await loose.drop(10)).toBe(0);
  await loose.sweep({ signal: never });
  expect(left('a')).toEqual(['a']);
});

test('an empty listing is written only if it replaces another or stored content needs it', async () => {
  const empty = { referrers: [], fetchedAtMs: 1 };
  const { loose, records, store, left } = started();
  store('stored');
  await loose.write(referrersOf('before'), listing);
  for (const name of ['random', 'stored', 'before']) await loose.write(referrersOf(name), empty);
  expect(left('random', 'stored', 'before')).toEqual(['stored', 'before']);
  expect(await records.read(referrersOf('before'))).toEqual(empty);
});

test('the limits of loose records are small parts of the store, and never 0', () => {
  expect(looseLimits({ maxBytes: 50 * 1024 ** 3, maxFiles: 1_000_000 })).toEqual({
    maxUnchecked: 10_000,
    newest: 1_000,
  });
  expect(looseLimits({ maxBytes: 1024 ** 2, maxFiles: 1_000 })).toEqual({ maxUnchecked: 16, newest: 16 });
});
