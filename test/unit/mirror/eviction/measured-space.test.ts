import { dirname } from 'node:path';
import { expect, test, vi } from 'vitest';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { Disk } from './disk.ts';

const team = { upstream: 'docker.io', repository: parseRepository('team/app') };
const digestNamed = (name: string): Digest => digestOf(Buffer.from(name));

test('a store far above its bound is brought below it: the folders of evicted records leave with them', async () => {
  const blockBytes = 4_096;
  const foldersOfRepository = 3;
  const repositories = Array.from({ length: 60 }, (_, number) => parseRepository(`team/app-${number}`));
  const folders = () => foldersOfRepository * new Set([...disk.records.written.keys()].map(dirname)).size;
  const disk: Disk = new Disk({
    limits: { maxBytes: 100 * blockBytes, minFreeBytes: 0, maxFiles: 1e6 },
    records: {
      remove: (key) => disk.records.remove(key),
      use: () => ({ bytes: folders() * blockBytes, files: folders() }),
    },
  });
  for (const [number, repository] of repositories.entries()) {
    const repositoryId = { ...team, repository };
    await disk.put({ name: 'a', size: 1, usedAtMs: 1_000, repositoryId });
    disk.index.recordRepositoryUse(repositoryId, number);
  }
  disk.busy.add(digestNamed('a'));
  await disk.space.tidy();
  expect(disk.left).toEqual(['a']);
  expect((await disk.space.use()).bytes).toBeLessThanOrEqual(100 * blockBytes);
});

test('a large blob that is committed while the store is measured is counted once, and nothing is evicted for it', async () => {
  const mebi = 1024 * 1024;
  const disk = new Disk({ limits: { maxBytes: 100 * mebi, minFreeBytes: 0, maxFiles: 1e6 } });
  await disk.put({ name: 'a', size: 20 * mebi, usedAtMs: 1 });
  disk.pendingBytes = 50 * mebi;
  const totals = disk.index.totals.bind(disk.index);
  vi.spyOn(disk.index, 'totals').mockImplementationOnce(async () => {
    disk.pendingBytes = 0;
    await disk.put({ name: 'b', size: 50 * mebi, usedAtMs: 2 });
    return totals();
  });
  expect(await disk.space.reserve(10 * mebi)).toBeDefined();
  expect(disk.left).toEqual(['a', 'b']);
});
