import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { ChangeJournal } from '../../../../src/storage/filesystem/change-journal.ts';
import { blobPath } from '../../../../src/storage/layout.ts';
import { DurableFolders } from '../../../../src/storage/filesystem/durable-folders.ts';
import { namesIn } from '../../../support/files-in.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { PowerLossDisk } from '../../../support/power-loss-disk.ts';

const digests = Array.from({ length: 4 }, (_, number) => digestOf(Buffer.from(`content ${number}`)));
const [first, second] = [digests[0]!, digests[1]!];
const repositoryId = { upstream: 'docker.io', repository: parseRepository('library/app') };
const tag = { kind: 'tag', repositoryId, tag: parseTag('1') } as const;
/** Longer than an index may take to be told of a change. */
const laterMs = 60_000;

async function journalOn(files: PowerLossDisk, clock = new ManualClock()) {
  const failures: unknown[] = [];
  const observer = { internalError: ({ cause }: { cause: unknown }) => void failures.push(cause) };
  const folders = new DurableFolders({ files });
  const journal = new ChangeJournal({ path: '/store', files, folders, clock, observer, hold: async () => {} });
  await journal.start();
  return { journal, clock, failures, epochs: () => namesIn(files, '/store/changes') };
}

/** The disk that a process finds after power loss, at which nothing is left that was not synced. */
const afterPowerLoss = (disk: PowerLossDisk): PowerLossDisk => disk.afterPowerLoss(() => 0.99);

test('what was about to change is known after power loss, as soon as it may change', async () => {
  const disk = new PowerLossDisk();
  const { journal } = await journalOn(disk);
  const since = journal.current;
  await Promise.all([journal.begin(first, tag).noted, journal.begin(second, first).noted]);

  const next = await journalOn(afterPowerLoss(disk));
  expect(await next.journal.changedSince(since)).toEqual({ contents: [first, second], records: [tag] });
});

test('an epoch is needed until its changes are made, and for a while', async () => {
  const { journal, clock } = await journalOn(new PowerLossDisk());
  const since = journal.current;
  const change = journal.begin(first);
  await change.noted;
  await journal.rotate();
  clock.advance(laterMs);
  expect(journal.oldestNeeded).toBe(since);
  change[Symbol.dispose]();
  expect(journal.oldestNeeded).toBe(since);
  clock.advance(laterMs);
  expect(journal.oldestNeeded).toBe(journal.current);
});

test('epochs that no index needs are removed, and are not taken for known afterwards', async () => {
  const disk = new PowerLossDisk();
  const { journal, epochs } = await journalOn(disk);
  const since = journal.current;
  await journal.begin(first).noted;
  await journal.rotate();
  const later = journal.current;
  await journal.begin(second).noted;
  await journal.dropBefore(later);
  expect(await epochs()).toHaveLength(1);

  const next = await journalOn(disk);
  expect(await next.journal.changedSince(since)).toBeUndefined();
  expect(await next.journal.changedSince(later)).toEqual({ contents: [second], records: [] });
});

test('a line that was cut is of a change that had not begun', async () => {
  const disk = new PowerLossDisk();
  const { journal, epochs } = await journalOn(disk);
  const since = journal.current;
  await journal.begin(first, second).noted;
  const [name = ''] = await epochs();
  const file = await disk.open(join('/store/changes', name), 'change');
  await file.truncate((await file.status()).size - 3);

  const next = await journalOn(disk);
  expect(await next.journal.changedSince(since)).toEqual({ contents: [first], records: [] });
});

test('on a full disk changes are made without being noted, and no later start relies on the journal', async () => {
  const disk = new PowerLossDisk();
  const { journal, failures, epochs } = await journalOn(disk);
  const since = journal.current;
  disk.before = (operation) => {
    if (operation === 'write') throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
  };
  await journal.begin(first).noted;
  await journal.begin(second).noted;
  expect(failures).toHaveLength(1);
  expect(await epochs()).toEqual([]);
  disk.before = () => {};
  await journal.rotate();
  await journal.begin(second).noted;

  const next = await journalOn(disk);
  expect(await next.journal.changedSince(since)).toBeUndefined();
});

test('after changes that could not be noted in a file of their own, no later start relies on the journal', async () => {
  const disk = new PowerLossDisk();
  const { journal, failures } = await journalOn(disk);
  const since = journal.current;
  await journal.begin(first).noted;
  disk.before = (operation, path) => {
    if (operation === 'open' && path.includes('changes/'))
      throw Object.assign(new Error('no descriptors'), { code: 'EMFILE' });
  };
  await journal.rotate();
  await journal.begin(second).noted;
  expect(failures).toHaveLength(1);
  disk.before = () => {};
  await journal.rotate();
  await journal.begin(first).noted;

  const next = await journalOn(disk);
  expect(await next.journal.changedSince(since)).toBeUndefined();
  expect(await next.journal.changedSince(journal.current)).toEqual({ contents: [first], records: [] });
});

describe('what was removed is noted until power loss cannot bring it back:', () => {
  /** Removes the first content's file. */
  async function removed() {
    const disk = new PowerLossDisk();
    const path = join('/store', blobPath(first));
    disk.put(path, 'content');
    disk.allSynced();
    const { journal, clock } = await journalOn(disk);
    {
      using change = journal.beginRemoval(first);
      await change.noted;
      await disk.unlink(path);
    }
    return { disk, journal, clock, since: journal.current, isBack: () => isThere(afterPowerLoss(disk), path) };
  }

  const isThere = async (disk: PowerLossDisk, path: string): Promise<boolean> => {
    return disk.stat(path).then(
      () => true,
      () => false,
    );
  };

  const refuseFolders = (operation: string, path: string) => {
    if (operation === 'sync' && path.includes('blobs/')) throw Object.assign(new Error('slow'), { code: 'EIO' });
  };

  test('its folder is synced before the epoch is dropped', async () => {
    const { disk, journal, clock, since, isBack } = await removed();
    disk.before = refuseFolders;
    await journal.rotate();
    await expect(journal.settle()).rejects.toThrow('slow');
    clock.advance(laterMs);
    expect(journal.oldestNeeded).toBe(since);
    expect(await isBack()).toBe(true);
    disk.before = () => {};
    await journal.rotate();
    await journal.settle();
    expect(journal.oldestNeeded).toBe(journal.current);
    expect(await isBack()).toBe(false);
  });

  test('also after the process was killed, by the next one', async () => {
    const { disk, clock, since, isBack } = await removed();
    const { journal } = await journalOn(disk, clock);
    expect(await journal.changedSince(since)).toEqual({ contents: [first], records: [] });
    clock.advance(laterMs);
    expect(journal.oldestNeeded).toBe(since);
    await journal.settle();
    expect(journal.oldestNeeded).toBe(journal.current);
    expect(await isBack()).toBe(false);
  });

  test('a folder that was removed too is synced by its parent', async () => {
    const { disk, journal, isBack } = await removed();
    await disk.rmdir(join('/store', dirname(blobPath(first))));
    await journal.settle();
    expect(await isBack()).toBe(false);
  });
});

test('changes that no index takes do not fill the disk', async () => {
  const { journal, failures, epochs } = await journalOn(new PowerLossDisk());
  const many = Array.from({ length: 201 }, (_, some) =>
    Array.from({ length: 1_000 }, (__, number) => digestOf(Buffer.from(`many ${some} ${number}`))),
  );
  for (const some of many) await journal.begin(...some).noted;
  expect(failures).toEqual([new Error('more than 200000 changes are not in the index')]);
  expect(await epochs()).toEqual([]);
});
