import { rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import type { RecordKey } from '../../../../src/mirror/ports/record-store.ts';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { recordPath } from '../../../../src/storage/layout.ts';
import { preparedStores } from '../../../support/file-stores.ts';

const repositoryId = { upstream: 'docker.io', repository: parseRepository('team/app') };
const record: RecordKey = { kind: 'tag', repositoryId, tag: parseTag('written') };
const evicted: RecordKey = { kind: 'tag', repositoryId, tag: parseTag('evicted') };

/** How many calls of the disk the first record of a repository takes. */
async function callsOfFirstRecord(): Promise<number> {
  const { records, files } = await preparedStores();
  await records.write(record, {});
  return files.calls.length;
}

test('a record is written though its empty folder is removed before any step of the write', async () => {
  const steps = await callsOfFirstRecord();
  for (let step = 1; step <= steps; step += 1) {
    const { records, files, path } = await preparedStores();
    files.before = async () => {
      if (files.calls.length === step) await removeEmptyFolders(path);
    };
    await records.write(record, { step });
    expect(await records.read(record)).toEqual({ step });
  }
});

test('a record is written though eviction keeps removing other records of its folder', async () => {
  const { records, files, failures } = await preparedStores();
  let isEvicting = false;
  files.before = async () => {
    if (isEvicting) return;
    isEvicting = true;
    await records.remove(evicted);
    isEvicting = false;
  };
  await records.write(record, { size: 1 });
  expect(await records.read(record)).toEqual({ size: 1 });
  expect(failures).toEqual([]);
});

test('the last record of a folder takes the folder with it', async () => {
  const { records, files, path } = await preparedStores();
  await records.write(record, {});
  await records.remove(record);
  await expect(files.stat(dirname(join(path, recordPath(record))))).rejects.toMatchObject({ code: 'ENOENT' });
});

/** As the eviction of a repository's last record does that had begun before. */
async function removeEmptyFolders(path: string): Promise<void> {
  try {
    for (let folder = dirname(join(path, recordPath(record))); folder !== path; folder = dirname(folder))
      await rmdir(folder);
  } catch {
    // As far as they are there and empty.
  }
}
