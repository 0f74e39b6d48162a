import { expect, test, vi } from 'vitest';
import { Background } from '../../../../src/mirror/concurrency/background.ts';
import { type RecordKey, storedTagRecord, type TagRecord } from '../../../../src/mirror/ports/record-store.ts';
import { TagBook } from '../../../../src/mirror/tags/tag-book.ts';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { ociManifest } from '../../../../src/oci/media-types.ts';
import { gate } from '../../../support/gate.ts';
import { randomBlob } from '../../../support/images.ts';
import { MemoryIndex } from '../../../support/memory-index.ts';
import { MemoryRecords } from '../../../support/memory-records.ts';
import { RecordingObserver } from '../../upstream/recording-observer.ts';

const of = { upstream: 'docker.io', repository: parseRepository('library/app') };
const tag = parseTag('1');
const key: RecordKey = { kind: 'tag', of, tag };

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
    book: new TagBook({ onNoted: () => {}, records, index, background, batchMs: 60_000 }),
  };
}

test('what a tag means is there at once, and on the disk soon', async () => {
  const { book, records, index, background } = started();
  const record = meaning('one', 1);
  book.put(of, tag, record);
  expect(book.remembered(of, tag)).toBe(record);
  expect(await book.get(of, tag)).toBe(record);
  await background.idle();
  expect(await records.read(key)).toEqual(stored(record));
  expect([...index.tags.values()]).toEqual([{ of, tag, digest: record.digest }]);
});

test('a tag that memory does not hold is read from the disk, once', async () => {
  const { book, records } = started();
  await records.write(key, meaning('one', 1));
  expect(book.remembered(of, tag)).toBeUndefined();
  for (const _ of ['read', 'remembered']) expect(await book.get(of, tag)).toEqual(meaning('one', 1));
  expect(records.reads).toBe(1);
});

test('a confirmation that comes while the record is being read is not forgotten for it', async () => {
  const { book, records } = started();
  await records.write(key, meaning('one', 1));
  const disk = gate();
  records.beforeRead = () => disk.opened;
  const reading = book.get(of, tag);
  book.put(of, tag, meaning('two', 2));
  disk.open();
  expect(await reading).toEqual(meaning('two', 2));
  expect(book.remembered(of, tag)).toEqual(meaning('two', 2));
});

test('a move is written at once; confirmations of the same digest are gathered until somebody flushes', async () => {
  const { book, records, background } = started();
  book.put(of, tag, meaning('one', 1));
  await background.idle();
  for (const confirmedAtMs of [2, 3, 4]) book.put(of, tag, meaning('one', confirmedAtMs));
  await background.idle();
  expect(records.writes).toHaveLength(1);
  book.flush();
  await background.idle();
  expect(records.writes.at(-1)).toEqual(stored(meaning('one', 4)));
  expect(records.writes).toHaveLength(2);
});

test('gathered confirmations are written after their time', async () => {
  vi.useFakeTimers();
  try {
    const { book, records } = started();
    book.put(of, tag, meaning('one', 1));
    await vi.advanceTimersByTimeAsync(0);
    book.put(of, tag, meaning('one', 2));
    await vi.advanceTimersByTimeAsync(59_999);
    expect(records.writes).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(records.writes.at(-1)).toEqual(stored(meaning('one', 2)));
  } finally {
    vi.useRealTimers();
  }
});

test('one writer at a time, and the newest word on a tag is the last written', async () => {
  const { book, records, background } = started();
  const disk = gate();
  records.before = () => disk.opened;
  book.put(of, tag, meaning('one', 1));
  book.put(of, tag, meaning('two', 2));
  book.put(of, tag, meaning('three', 3));
  expect(records.writes).toEqual([stored(meaning('one', 1))]);
  disk.open();
  await background.idle();
  expect(records.writes).toEqual([stored(meaning('one', 1)), stored(meaning('three', 3))]);
  expect(await records.read(key)).toEqual(stored(meaning('three', 3)));
});

test('what the disk refuses is told of, kept in memory, and written when it can be', async () => {
  const { book, records, observer, background } = started();
  records.before = async () => Promise.reject(new Error('ENOSPC'));
  book.put(of, tag, meaning('one', 1));
  await background.idle();
  expect(observer.troubles).toHaveLength(1);
  expect(book.remembered(of, tag)).toEqual(meaning('one', 1));
  records.before = async () => {};
  book.flush();
  await background.idle();
  expect(await records.read(key)).toEqual(stored(meaning('one', 1)));
});

test('a tag that is forgotten is gone from memory, disk and index, and is not written again', async () => {
  const { book, index, background } = started();
  book.put(of, tag, meaning('one', 1));
  await background.idle();
  book.put(of, tag, meaning('one', 2));
  book.forget(of, tag);
  book.flush();
  await background.idle();
  expect(book.remembered(of, tag)).toBeUndefined();
  expect(await book.get(of, tag)).toBeUndefined();
  expect([...index.tags]).toEqual([]);
});

test('a tag that is dropped leaves memory only', async () => {
  const { book, background } = started();
  book.put(of, tag, meaning('one', 1));
  await background.idle();
  book.drop(of, tag);
  expect(book.remembered(of, tag)).toBeUndefined();
  expect(await book.get(of, tag)).toEqual(meaning('one', 1));
});

test('a tag that is forgotten while it is being written is not there afterwards', async () => {
  const { book, records, background } = started();
  const disk = gate();
  records.before = () => disk.opened;
  book.put(of, tag, meaning('one', 1));
  book.forget(of, tag);
  disk.open();
  await background.idle();
  expect(await records.read(key)).toBeUndefined();
});
