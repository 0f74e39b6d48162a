import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { digestOf } from '../../../../src/oci/digest.ts';
import { gate } from '../../../support/gate.ts';
import { indexImage, layer, repositoryId } from '../../../support/indexed-image.ts';
import { ScriptedFiles } from '../../../support/scripted-files.ts';
import { indexAt, never } from '../../../support/sqlite-index.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** The disk hangs in the second sync of the write-ahead log, before which writes are held back. */
async function indexOnHungDisk(options: { readonly maxBufferedWrites?: number } = {}) {
  const directory = await temporaryDirectory();
  const disk = new ScriptedFiles();
  const [hung, repaired] = [gate(), gate()];
  let syncs = 0;
  disk.before = async ({ operation, path }) => {
    if (operation !== 'sync' || !path.endsWith('index.sqlite-wal')) return;
    syncs += 1;
    if (syncs !== 2) return;
    hung.open();
    await repaired.opened;
  };
  const { index } = indexAt(directory, { ...options, files: disk });
  await index.start();
  const saved = index.completeRebuild({ signal: never });
  await hung.opened;
  const repair = async (): Promise<void> => {
    repaired.open();
    await saved;
  };
  return { directory, index, repair };
}

test('queries are answered at once while a sync of the index hangs', async () => {
  const { index, repair } = await indexOnHungDisk();
  expect(await index.hasContent(layer)).toBe(false);
  expect(await index.totals()).toMatchObject({ blobs: 0 });
  expect(await index.borrowableLinks(repositoryId, layer, 'blob')).toEqual([]);
  expect(await index.isCounted()).toBe(true);
  await repair();
  await index.stop();
});

test('with writes that wait for the sync, queries are answered after two seconds without them; content that waits is known', async () => {
  const { index, repair } = await indexOnHungDisk();
  indexImage(index);
  const totals = index.totals();
  await vi.advanceTimersByTimeAsync(1_999);
  let isAnswered = false;
  void totals.then(() => {
    isAnswered = true;
  });
  await Promise.resolve();
  expect(isAnswered).toBe(false);
  await vi.advanceTimersByTimeAsync(1);
  expect(await totals).toMatchObject({ blobs: 0 });
  expect(await index.hasContent(layer)).toBe(true);
  await repair();
  expect(await index.totals()).toMatchObject({ blobs: 1, manifests: 1 });
  await index.stop();
});

test('the index counts as behind the store after ten seconds, until the sync has ended', async () => {
  const { index, repair } = await indexOnHungDisk();
  await vi.advanceTimersByTimeAsync(9_999);
  expect(await index.isCounted()).toBe(true);
  await vi.advanceTimersByTimeAsync(1);
  expect(await index.isCounted()).toBe(false);
  await repair();
  expect(await index.isCounted()).toBe(true);
  await index.stop();
});

test('what decides about removals waits for the sync', async () => {
  const { index, repair } = await indexOnHungDisk();
  indexImage(index);
  const ended: string[] = [];
  const isNeeded = index.isNeeded({ kind: 'blob', repositoryId, digest: layer });
  void isNeeded.then(() => ended.push('isNeeded'));
  const stalest = index.stalestRepository();
  void stalest.then(() => ended.push('stalest'));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ended).toEqual([]);
  await repair();
  expect(await isNeeded).toBe(true);
  await stalest;
  expect(await index.forget(layer)).toEqual([]);
  await index.stop();
});

test('beyond a bound, writes that wait for the sync are dropped, and the next start rebuilds the index', async () => {
  const { directory, index, repair } = await indexOnHungDisk({ maxBufferedWrites: 10 });
  for (let number = 0; number < 11; number += 1) index.recordUse(digestOf(Buffer.from(`${number}`)), number);
  await repair();
  await index.stop();
  const next = indexAt(directory);
  await next.index.start();
  expect(next.index.needsRebuild).toBe(true);
  await next.index.stop();
});
