import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { blobPath, recordPath } from '../../../../src/storage/layout.ts';
import { preparedStores } from '../../../support/file-stores.ts';
import { gate } from '../../../support/gate.ts';

const bytes = Buffer.from('layer');
const digest = digestOf(bytes);

async function started() {
  const stores = await preparedStores();
  const { files, path } = stores;
  const seen = (): string[] =>
    files.calls
      .filter(({ operation }) => ['mkdir', 'sync', 'rename'].includes(operation))
      .map((call) => `${call.operation} ${call.path.replace(`${path}/`, '').replace(/incoming\/.*/, 'incoming')}`);
  return { ...stores, seen };
}

test('a blob is synced before it is renamed, and the rename is synced before the blob counts as stored', async () => {
  const { store, seen } = await started();
  await store.put(digest, bytes);
  const file = blobPath(digest);
  expect(seen()).toEqual([
    'sync incoming',
    `rename ${file}`,
    `mkdir ${dirname(file)}`,
    'sync blobs/sha256',
    `rename ${file}`,
    `sync ${dirname(file)}`,
  ]);
});

test('a record in a new repository survives a power loss: every new folder is synced before it is used', async () => {
  const { records, seen } = await started();
  const key = {
    kind: 'tag-list',
    repositoryId: { upstream: 'docker.io', repository: parseRepository('library/alpine') },
  } as const;
  await records.write(key, {});
  expect(seen().slice(-8)).toEqual([
    'mkdir repositories/docker.io',
    'sync repositories',
    'mkdir repositories/docker.io/library',
    'sync repositories/docker.io',
    'mkdir repositories/docker.io/library/alpine',
    'sync repositories/docker.io/library',
    `rename ${recordPath(key)}`,
    'sync repositories/docker.io/library/alpine',
  ]);

  const before = seen().length;
  await records.write(key, { again: true });
  expect(seen().slice(before)).toEqual([
    'sync incoming',
    `rename ${recordPath(key)}`,
    `sync ${dirname(recordPath(key))}`,
  ]);
});

test('no file in a folder that is not synced counts as stored, whatever created the folder', async () => {
  const { store, files, path } = await started();
  const reached = gate();
  const disk = gate();
  files.before = async ({ operation, path: file }) => {
    if (operation !== 'sync' || file !== join(path, 'blobs/sha256')) return;
    reached.open();
    await disk.opened;
  };
  let stored = 0;
  const puts = [store.put(digest, bytes), store.put(digest, bytes)].map(async (put) => {
    await put;
    stored += 1;
  });
  await reached.opened;
  puts.push(store.put(digest, bytes).then(() => void (stored += 1)));
  while ((await store.readAll(digest, 100)) === undefined);
  for (let look = 0; look < 20; look += 1) await Array.fromAsync(store.list());
  expect(stored).toBe(0);

  disk.open();
  await Promise.all(puts);
  expect(stored).toBe(3);
  expect(files.calls.filter(({ operation }) => operation === 'mkdir')).toHaveLength(1);
});

test('a folder that could not be synced is created again by the next write', async () => {
  const { store, files, path, seen } = await started();
  files.failWith = ({ operation, path: file }) =>
    operation === 'sync' && file === join(path, 'blobs/sha256') ? 'EIO' : undefined;
  await expect(store.put(digest, bytes)).rejects.toMatchObject({ code: 'EIO' });

  files.failWith = () => undefined;
  files.calls.length = 0;
  await store.put(digest, bytes);
  expect(seen()).toContain('sync blobs/sha256');
});

test('a disk without fsync for folders still stores blobs', async () => {
  const { store, files, path } = await started();
  files.failWith = ({ operation, path: file }) =>
    operation === 'sync' && !file.startsWith(join(path, 'incoming')) ? 'EINVAL' : undefined;
  await store.put(digest, bytes);
  expect(await store.readAll(digest, 100)).toEqual(bytes);
});

test('a folder that keeps vanishing is created again, a limited number of times', async () => {
  const { store, files, path } = await started();
  files.failWith = ({ operation }) => (operation === 'rename' ? 'ENOENT' : undefined);
  await expect(store.put(digest, bytes)).rejects.toMatchObject({ code: 'ENOENT' });
  expect(files.calls.filter(({ operation }) => operation === 'rename')).toHaveLength(5);

  let refusals = 2;
  files.failWith = ({ operation }) => (operation === 'rename' && (refusals -= 1) >= 0 ? 'ENOENT' : undefined);
  await store.put(digest, bytes);
  expect(await store.readAll(digest, 100)).toEqual(bytes);
  expect(path).not.toBe('');
});

test('a repository whose last record is removed leaves no folders behind', async () => {
  const { records, path, files } = await started();
  const repositoryId = { upstream: 'docker.io', repository: parseRepository('library/alpine') };
  await records.write({ kind: 'blob', repositoryId, digest }, {});
  await records.write({ kind: 'visibility', repositoryId }, {});
  await records.remove({ kind: 'blob', repositoryId, digest });
  expect(await Array.fromAsync(files.entries(join(path, 'repositories/docker.io/library/alpine')))).toHaveLength(1);
  await records.remove({ kind: 'visibility', repositoryId });
  expect(await Array.fromAsync(files.entries(join(path, 'repositories')))).toEqual([]);
});
