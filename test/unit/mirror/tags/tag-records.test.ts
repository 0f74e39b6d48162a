import { expect, test, vi } from 'vitest';
import { Background } from '../../../../src/mirror/concurrency/background.ts';
import { type RecordKey, storedTagRecord, type TagRecord } from '../../../../src/mirror/ports/record-store.ts';
import { TagRecords } from '../../../../src/mirror/tags/tag-records.ts';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { ociManifest } from '../../../../src/oci/media-types.ts';
import { gate } from '../../../support/gate.ts';
import { randomBlob } from '../../../support/images.ts';
import { MemoryIndex } from '../../../support/memory-index.ts';
import { MemoryRecords } from '../../../support/memory-records.ts';
import { RecordingObserver } from '../../upstream/recording-observer.ts';

const repositoryId = { upstream: 'docker.io', repository: parseRepository('library/app') };
const tag = parseTag('1');
const key: RecordKey = { kind: 'tag', repositoryId, tag };

function meaning(name: string, confirmedAtMs: number): TagRecord {
  return { digest: randomBlob(1, name).digest, mediaType: ociManifest, size: 1, confirmedAtMs };
}

const stored = (record: TagRecord): object => storedTagRecord(tag, record);

/** Records of which every write is told, waits where the test says, and fails where the test says. */
class WatchedRecords extends MemoryRecords {
  readonly writes: object[] = [];
  before: () => Promise<void> = async () => {};
  beforeRead: () => Promise<void> = async () => {};

  override async read(wanted: RecordKey): Promise<unknown> {
    const found = await super.read(wanted);
    await this.beforeRead();
    return found;
  }

  override async write(wanted: RecordKey, value: object): Promise<void> {
    this.writes.push(value);
    await this.before();
    await super.write(wanted, value);
  }
}

function started() {
  const [records, index, observer] = [new WatchedRecords(), new MemoryIndex(), new RecordingObserver()];
  const background = new Background({ observer });
  return {
    records,
    index,
    observer,
    background,
    tagRecords: new TagRecords({ onRecorded: () => {}, records, index, background, batchMs: 60_000 }),
  };
}

test('a changed tag is visible at once, and on the disk soon', async () => {
  const { tagRecords, records, index, background } = started();
  const record = meaning('one', 1);
  tagRecords.put(repositoryId, tag, record);
  expect(tagRecords.remembered(repositoryId, tag)).toBe(record);
  expect(await tagRecords.get(repositoryId, tag)).toBe(record);
  await background.idle();
  expect(await records.read(key)).toEqual(stored(record));
  expect([...index.tags.values()]).toEqual([{ repositoryId, tag, digest: record.digest }]);
});

test('a tag that is recorded again after it was dropped stays, though its record is to be removed', async () => {
  const { tagRecords, records, index, background } = started();
  tagRecords.put(repositoryId, tag, meaning('one', 1));
  await background.idle();
  await tagRecords.drop([key]);
  expect(await tagRecords.get(repositoryId, tag)).toBeUndefined();
  const again = meaning('one', 2);
  tagRecords.put(repositoryId, tag, again);
  await tagRecords.removeDropped(repositoryId, tag);
  await background.idle();
  expect(await tagRecords.get(repositoryId, tag)).toBe(again);
  expect(await records.read(key)).toEqual(stored(again));
  expect([...index.tags.values()]).toEqual([{ repositoryId, tag, digest: again.digest }]);
});

test('very many tags are dropped in turns: requests are answered in between', async () => {
  const { tagRecords, index } = started();
  const keys = Array.from({ length: 2_001 }, (_, number) => ({ ...key, tag: parseTag(`v${number}`) }));
  for (const { tag: one } of keys) index.recordTag(repositoryId, one, meaning('one', 1).digest);
  const left: number[] = [];
  const look = () => {
    left.push(index.tags.size);
    if (index.tags.size > 0) setImmediate(look);
  };
  setImmediate(look);
  await tagRecords.drop(keys);
  expect(index.tags.size).toBe(0);
  expect(left).toEqual([1_001, 1]);
});

test('a tag that is not in memory is read from the disk, once', async () => {
  const { tagRecords, records } = started();
  await records.write(key, meaning('one', 1));
  expect(tagRecords.remembered(repositoryId, tag)).toBeUndefined();
  for (const _ of ['read', 'remembered']) expect(await tagRecords.get(repositoryId, tag)).toEqual(meaning('one', 1));
  expect(records.reads).toBe(1);
});

test('a confirmation during the read of its record is kept', async () => {
  const { tagRecords, records } = started();
  await records.write(key, meaning('one', 1));
  const disk = gate();
  records.beforeRead = () => disk.opened;
  const reading = tagRecords.get(repositoryId, tag);
  tagRecords.put(repositoryId, tag, meaning('two', 2));
  disk.open();
  expect(await reading).toEqual(meaning('two', 2));
  expect(tagRecords.remembered(repositoryId, tag)).toEqual(meaning('two', 2));
});

test('a move is written at once; confirmations of the same digest are buffered until a flush', async () => {
  const { tagRecords, records, background } = started();
  tagRecords.put(repositoryId, tag, meaning('one', 1));
  await background.idle();
  for (const confirmedAtMs of [2, 3, 4]) tagRecords.put(repositoryId, tag, meaning('one', confirmedAtMs));
  await background.idle();
  expect(records.writes).toHaveLength(1);
  tagRecords.flush();
  await background.idle();
  expect(records.writes.at(-1)).toEqual(stored(meaning('one', 4)));
  expect(records.writes).toHaveLength(2);
});

test('buffered confirmations are written after an interval', async () => {
  vi.useFakeTimers();
  try {
    const { tagRecords, records } = started();
    tagRecords.put(repositoryId, tag, meaning('one', 1));
    await vi.advanceTimersByTimeAsync(0);
    tagRecords.put(repositoryId, tag, meaning('one', 2));
    await vi.advanceTimersByTimeAsync(59_999);
    expect(records.writes).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(records.writes.at(-1)).toEqual(stored(meaning('one', 2)));
  } finally {
    vi.useRealTimers();
  }
});

test('a tag has one writer at a time, and its newest record is written last', async () => {
  const { tagRecords, records, background } = started();
  const disk = gate();
  records.before = () => disk.opened;
  tagRecords.put(repositoryId, tag, meaning('one', 1));
  tagRecords.put(repositoryId, tag, meaning('two', 2));
  tagRecords.put(repositoryId, tag, meaning('three', 3));
  expect(records.writes).toEqual([stored(meaning('one', 1))]);
  disk.open();
  await background.idle();
  expect(records.writes).toEqual([stored(meaning('one', 1)), stored(meaning('three', 3))]);
  expect(await records.read(key)).toEqual(stored(meaning('three', 3)));
});

test('a record that the disk rejects is reported, kept in memory, and written when the disk recovers', async () => {
  const { tagRecords, records, observer, background } = started();
  records.before = async () => Promise.reject(new Error('ENOSPC'));
  tagRecords.put(repositoryId, tag, meaning('one', 1));
  await background.idle();
  expect(observer.failures).toHaveLength(1);
  expect(tagRecords.remembered(repositoryId, tag)).toEqual(meaning('one', 1));
  records.before = async () => {};
  tagRecords.flush();
  await background.idle();
  expect(await records.read(key)).toEqual(stored(meaning('one', 1)));
});

test('a forgotten tag is removed from memory, disk and index, and is not written again', async () => {
  const { tagRecords, index, background } = started();
  tagRecords.put(repositoryId, tag, meaning('one', 1));
  await background.idle();
  tagRecords.put(repositoryId, tag, meaning('one', 2));
  tagRecords.forget(repositoryId, tag);
  tagRecords.flush();
  await background.idle();
  expect(tagRecords.remembered(repositoryId, tag)).toBeUndefined();
  expect(await tagRecords.get(repositoryId, tag)).toBeUndefined();
  expect([...index.tags]).toEqual([]);
});

test('the removal of a tag does not wait for other tags that the disk does not take', async () => {
  const { tagRecords, records, background } = started();
  tagRecords.put(repositoryId, tag, meaning('one', 1));
  await background.idle();
  const disk = gate();
  records.before = () => disk.opened;
  tagRecords.put(repositoryId, parseTag('2'), meaning('two', 2));
  await tagRecords.remove(repositoryId, tag);
  expect(await records.read(key)).toBeUndefined();
  expect(await tagRecords.get(repositoryId, tag)).toBeUndefined();
  disk.open();
  await background.idle();
});

test.each(['write', 'removal'])(
  'a tag that is removed and confirmed during the %s of its record stays',
  async (running) => {
    const { tagRecords, records, index, background } = started();
    const disk = gate();
    const remove = records.remove.bind(records);
    records.remove = async (wanted) => {
      if (running === 'removal') await disk.opened;
      await remove(wanted);
    };
    if (running === 'write') records.before = () => disk.opened;
    tagRecords.put(repositoryId, tag, meaning('one', 1));
    if (running === 'removal') await background.idle();
    const removed = tagRecords.remove(repositoryId, tag);
    tagRecords.put(repositoryId, tag, meaning('two', 2));
    disk.open();
    await removed;
    await background.idle();
    expect(await records.read(key)).toEqual(stored(meaning('two', 2)));
    expect(index.tags.size).toBe(1);
  },
);

test('a removal that the disk rejects is told, and tried again', async () => {
  const { tagRecords, records, background } = started();
  tagRecords.put(repositoryId, tag, meaning('one', 1));
  await background.idle();
  const remove = records.remove.bind(records);
  records.remove = async () => Promise.reject(new Error('EIO'));
  await expect(tagRecords.remove(repositoryId, tag)).rejects.toThrow('EIO');
  expect(await tagRecords.get(repositoryId, tag)).toBeUndefined();
  records.remove = remove;
  tagRecords.flush();
  await background.idle();
  expect(await records.read(key)).toBeUndefined();
});

test('a tag that is forgotten while its record is written is gone afterwards', async () => {
  const { tagRecords, records, background } = started();
  const disk = gate();
  records.before = () => disk.opened;
  tagRecords.put(repositoryId, tag, meaning('one', 1));
  tagRecords.forget(repositoryId, tag);
  disk.open();
  await background.idle();
  expect(await records.read(key)).toBeUndefined();
});

test.each([
  ['before', false],
  ['while', true],
] as const)('a tag that is forgotten %s its record is read stays forgotten', async (_, isReading) => {
  const { tagRecords, records, index, background } = started();
  const record = meaning('one', 1);
  await records.write(key, stored(record));
  const [reading, removing] = [gate(), gate()];
  const remove = records.remove.bind(records);
  records.remove = async (wanted) => {
    await removing.opened;
    await remove(wanted);
  };
  records.beforeRead = () => reading.opened;
  const before = isReading ? tagRecords.get(repositoryId, tag) : undefined;
  tagRecords.forget(repositoryId, tag);
  const after = tagRecords.get(repositoryId, tag);
  reading.open();
  expect(await after).toBeUndefined();
  await before;
  expect(tagRecords.remembered(repositoryId, tag)).toBeUndefined();
  removing.open();
  await background.idle();
  tagRecords.put(repositoryId, tag, record);
  await background.idle();
  expect(index.tags.size).toBe(1);
});
