import { expect, test, vi } from 'vitest';
import type { RecordKey } from '../../../../src/mirror/ports/record-store.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { MemoryRecords } from '../../../support/memory-records.ts';
import { Disk } from './disk.ts';

const digest = digestOf(Buffer.from('a'));
const content = { digest, size: 1, diskBytes: 1, isManifest: false, usedAtMs: 1 };
const link = {
  kind: 'blob',
  repositoryId: { upstream: 'docker.io', repository: parseRepository('library/other') },
  digest,
} as const;

class FailingRecords extends MemoryRecords {
  fails = false;

  override async remove(key: RecordKey): Promise<void> {
    if (this.fails) throw new Error('EIO');
    await super.remove(key);
  }
}

/** Content that was evicted during a rebuild, which then found the record of another link to it, and has ended. */
async function evictedInRebuild() {
  const records = new FailingRecords();
  const disk = new Disk({ records });
  await disk.put({ name: 'a', size: 1, usedAtMs: 1 });
  for (const key of [
    link,
    { ...link, repositoryId: { ...link.repositoryId, repository: parseRepository('library/app') } },
  ])
    await records.write(key, {});
  disk.index.isRebuilt = false;
  expect(await disk.space.purge(content, async () => 'free')).toBe('removed');
  disk.index.recordLink({ ...link, mediaType: undefined, size: 1 });
  expect([...records.written.keys()]).toEqual([expect.stringContaining('library/other')]);
  return { disk, records };
}

test('content that is evicted during a rebuild of the index leaves no link: what was found later goes after the rebuild', async () => {
  const { disk, records } = await evictedInRebuild();
  await disk.space.sweep();
  expect(records.written.size).toBe(1);
  disk.index.isRebuilt = true;
  await disk.space.sweep();
  expect([records.written.size, disk.index.links]).toEqual([0, []]);
});

test('content that was pulled again since keeps its links', async () => {
  const { disk, records } = await evictedInRebuild();
  disk.storedAgain.add(digest);
  disk.index.isRebuilt = true;
  await disk.space.sweep();
  expect([records.written.size, disk.index.links.length]).toEqual([1, 1]);
});

test('content that was pulled again since, and waits to be stored, keeps its links', async () => {
  const { disk, records } = await evictedInRebuild();
  disk.index.recordContent({ ...content, names: [] });
  disk.index.isRebuilt = true;
  await disk.space.sweep();
  expect([records.written.size, disk.index.links.length, disk.left]).toEqual([1, 1, ['a']]);
});

test('a link that the disk does not remove stays in the index, and goes with a later sweep', async () => {
  const { disk, records } = await evictedInRebuild();
  disk.index.isRebuilt = true;
  records.fails = true;
  await disk.space.sweep();
  expect([records.written.size, disk.index.links.length]).toEqual([1, 1]);
  expect(disk.observer.failures).toHaveLength(1);
  records.fails = false;
  await disk.space.sweep();
  expect([records.written.size, disk.index.links]).toEqual([0, []]);
});

test('content that is stored while its links are removed, and forgotten with them, is counted', async () => {
  const { disk } = await evictedInRebuild();
  const forget = disk.index.forget.bind(disk.index);
  vi.spyOn(disk.index, 'forget').mockImplementation(async (forgotten) => {
    disk.storedAgain.add(digest); // The index waited for its disk.
    disk.index.recordContent({ ...content, names: [] });
    return forget(forgotten);
  });
  disk.index.isRebuilt = true;
  await disk.space.sweep();
  expect(disk.left).toEqual(['a']);
});

test('a link that the disk never removes does not keep those of other content', async () => {
  const { disk, records } = await evictedInRebuild();
  const other = { ...link, digest: digestOf(Buffer.from('b')) };
  disk.index.isRebuilt = false;
  await disk.space.purge({ ...content, digest: other.digest }, async () => 'free');
  disk.index.recordLink({ ...other, mediaType: undefined, size: 1 });
  vi.spyOn(records, 'remove').mockImplementation(async (key) => {
    if ('digest' in key && key.digest === digest) throw new Error('EIO');
  });
  disk.index.isRebuilt = true;
  await disk.space.sweep();
  await disk.space.sweep();
  expect(disk.index.links.map((left) => left.digest)).toEqual([digest]);
});
