import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { RecordKey } from '../../../../src/mirror/ports/record-store.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { type Failpoint, failpoints } from '../../../../src/storage/filesystem/failpoints.ts';
import { type FileStores, fileStores } from '../../../support/file-stores.ts';
import { startProcess } from '../../../support/processes.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

const bytes = Buffer.alloc(100_000, 'layer');
const digest = digestOf(bytes);
const latest: RecordKey = {
  kind: 'tag',
  repositoryId: { upstream: 'docker.io', repository: parseRepository('library/alpine') },
  tag: parseTag('latest'),
};

/** How far the writer must have come for the blob, and the record, to be visible. */
const steps: readonly Failpoint[] = failpoints;
const isBlobVisible = (step: Failpoint): boolean => steps.indexOf(step) >= steps.indexOf('blob.renamed');
const isRecordVisible = (step: Failpoint): boolean => steps.indexOf(step) >= steps.indexOf('record.renamed');

async function expectWholeOrNothing(path: string, step: Failpoint): Promise<void> {
  const { store, records, corrupt } = fileStores({ path });
  await store.prepare();
  expect(await store.readAll(digest, 1_000_000)).toEqual(isBlobVisible(step) ? bytes : undefined);
  expect(await records.read(latest)).toEqual(isRecordVisible(step) ? { digest } : undefined);
  expect(await readdir(join(path, 'incoming'))).toEqual([]);
  expect(store.pendingBytes()).toBe(0);
  expect(corrupt).toEqual([]);
}

async function writeBoth({ store, records }: FileStores): Promise<void> {
  await using incoming = await store.create(digest, 'docker.io');
  await incoming.append([bytes]);
  await incoming.commit();
  await records.write(latest, { digest });
}

test.each(failpoints)('a process killed at %s leaves a whole blob and record, or nothing', async (step) => {
  const path = await temporaryDirectory();
  const script = join(import.meta.dirname, 'write-until-killed.ts');
  const { signal } = await startProcess(process.execPath, [script, path, step]).exited;

  expect(signal).toBe('SIGKILL');
  await expectWholeOrNothing(path, step);
});

test.each(failpoints)(
  'a failure at %s leaves a whole blob and record, or nothing, and the next try succeeds',
  async (step) => {
    const path = await temporaryDirectory();
    const failing = fileStores({
      path,
      failpoint: (reached) => {
        if (reached === step) throw new Error('struck');
      },
    });
    await failing.store.prepare();
    await expect(writeBoth(failing)).rejects.toThrow('struck');
    expect(failing.store.pendingBytes()).toBe(0);
    expect(await readdir(join(path, 'incoming'))).toEqual([]);
    await expectWholeOrNothing(path, step);

    const next = fileStores({ path });
    await writeBoth(next);
    await expectWholeOrNothing(path, 'record.folder-synced');
  },
);

test('every step of a write runs, in the order in which the steps are listed', async () => {
  const passed: string[] = [];
  const stores = fileStores({ path: await temporaryDirectory(), failpoint: (step) => passed.push(step) });
  await stores.store.prepare();
  await writeBoth(stores);
  expect(passed).toEqual(failpoints);

  passed.length = 0;
  await stores.store.put(digest, bytes);
  expect(passed).toEqual(failpoints.filter((step) => step.startsWith('blob.')));
});
