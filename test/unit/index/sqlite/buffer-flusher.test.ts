import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { BufferFlusher } from '../../../../src/index/sqlite/buffer-flusher.ts';
import { RowWriter } from '../../../../src/index/sqlite/rows.ts';
import { openDatabase } from '../../../../src/index/sqlite/open-database.ts';
import { WriteBuffer } from '../../../../src/index/write-buffer.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { DurableFolders } from '../../../../src/storage/filesystem/durable-folders.ts';
import { nodeFiles } from '../../../../src/storage/filesystem/file-system.ts';
import { undisturbed } from '../../../support/sqlite-index.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
afterEach(() => void vi.useRealTimers());

/** A flusher over a file that is full, or not, as the test says. */
async function flusherOver({ maxPending = 1000 } = {}) {
  const failures: unknown[] = [];
  const path = join(await temporaryDirectory(), 'index.sqlite');
  const files = new DurableFolders({ files: nodeFiles });
  const opened = await openDatabase({
    path,
    files,
    onBroken: (cause) => failures.push(cause),
    runs: undisturbed,
    nowMs: 0,
    keep: [],
    isKept: () => false,
  });
  const { database } = opened;
  onTestFinished(() => database.close());
  const pending = new WriteBuffer({ maxNames: 1000 });
  const writes: unknown[] = [];
  const observer = {
    internalError: ({ cause }: { cause: unknown }) => failures.push(cause),
    indexAnswered: (event: unknown) => writes.push(event),
  };
  const flusher = new BufferFlusher({
    pending,
    observer,
    maxPending,
    now: () => 0,
    onManyWritten: () => {},
    onDamaged: (cause) => failures.push(cause),
  });
  flusher.start({
    database,
    writer: new RowWriter({ ...opened, isKept: () => false }),
    pages: { releasePages: () => false },
  });
  let noted = 0;
  const note = (count: number): void => {
    for (let number = 0; number < count; number += 1, noted += 1) {
      const digest = digestOf(Buffer.from(`content ${noted}`));
      pending.addContent({ digest, size: 1, isManifest: false, names: [], usedAtMs: 1 });
      flusher.writeBuffered();
    }
  };
  const rows = (): unknown => database.prepare('SELECT count(*) AS rows FROM content').get()?.['rows'];
  const usesSince = (atMs: number): unknown =>
    database.prepare('SELECT count(*) AS uses FROM content WHERE used_at >= ?').get(atMs)?.['uses'];
  const fill = (): void => database.exec('PRAGMA max_page_count = 1');
  const empty = (): void => database.exec('PRAGMA max_page_count = 100000');
  return { flusher, pending, failures, writes, note, rows, usesSince, fill, empty };
}

test('a few buffered writes wait for more, many are written at once, a bounded number per event loop turn', async () => {
  const { note, rows, writes } = await flusherOver();
  note(99);
  await nextTurn();
  expect(rows()).toBe(0);
  note(151);
  await nextTurn();
  expect(rows()).toBe(100);
  await nextTurn();
  expect(rows()).toBe(200);
  await nextTurn();
  expect(rows()).toBe(250);
  expect(writes).toEqual(Array.from({ length: 3 }, () => ({ operation: 'write', durationMs: 0 })));
});

test('buffered writes that the disk rejects are kept, reported once, and written when the disk recovers', async () => {
  const { flusher, note, rows, failures, fill, empty } = await flusherOver();
  fill();
  note(500);
  await flusher.settle();
  await flusher.settle();
  for (let attempt = 0; attempt < 3; attempt += 1) await vi.advanceTimersByTimeAsync(5000);
  expect(rows()).toBe(0);
  expect(failures).toMatchObject([{ message: expect.stringContaining('full') }]);

  empty();
  await vi.advanceTimersByTimeAsync(4999);
  expect(rows()).toBe(0);
  await vi.advanceTimersByTimeAsync(1);
  await flusher.settle();
  expect(rows()).toBe(500);
  expect(await flusher.stop()).toBe(true);

  fill();
  note(500);
  await flusher.settle();
  expect(failures).toHaveLength(1);
});

test('while the disk rejects writes, buffering does not delay its callers', async () => {
  const { flusher, note, failures, fill } = await flusherOver();
  fill();
  note(500);
  await flusher.settle();
  note(300);
  for (let turn = 0; turn < 10; turn += 1) await nextTurn();
  expect(failures).toHaveLength(1);
});

test('a query sees every write before it, however many others are buffered while it waits', async () => {
  const { flusher, pending, note, rows, usesSince } = await flusherOver();
  note(150);
  for (let number = 0; number < 150; number += 1)
    pending.addUse(digestOf(Buffer.from(`content ${number}`)), 1_000 + number);
  let isSettled = false;
  const settled = flusher.settle('rows').then(() => {
    isSettled = true;
  });
  while (!isSettled) {
    note(150); // Contents are written before uses.
    await nextTurn();
  }
  await settled;
  expect(rows()).toBeGreaterThan(150);
  expect(usesSince(1_000)).toBe(150);
});

test('a disk that rejects writes for long does not fill the memory: the index must be rebuilt then', async () => {
  const { flusher, pending, note, rows, fill, empty } = await flusherOver({ maxPending: 600 });
  fill();
  note(600);
  await flusher.settle();
  expect(pending.size).toBe(600);
  note(1);
  await flusher.settle();
  expect(pending.size).toBe(0);

  empty();
  note(100);
  await flusher.settle();
  expect(rows()).toBe(100);
  expect(await flusher.stop()).toBe(false);
});

test('an index that could not write everything does not count as complete', async () => {
  const { flusher, note, fill } = await flusherOver();
  fill();
  note(500);
  expect(await flusher.stop()).toBe(false);
});
