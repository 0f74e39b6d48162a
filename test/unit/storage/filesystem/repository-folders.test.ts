import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { preparedStores } from '../../../support/file-stores.ts';
import { named } from '../../../contract/indexes.ts';

test('the repositories of an upstream are those with records, also where one is inside another', async () => {
  const { records, path } = await preparedStores();
  const names = ['a', 'a/b', 'a/b/c/d', 'e/f', ...Array.from({ length: 100 }, (_, number) => `many/${number}`)];
  for (const name of names) {
    const repositoryId = { upstream: 'docker.io', repository: parseRepository(name) };
    await records.write({ kind: 'blob', repositoryId, digest: named(name) }, { firstServedAtMs: 1 });
  }
  const elsewhere = { upstream: 'ghcr.io', repository: parseRepository('other') };
  await records.write({ kind: 'blob', repositoryId: elsewhere, digest: named('other') }, { firstServedAtMs: 1 });
  await mkdir(join(path, 'repositories/docker.io/NOT-A-REPOSITORY/_blobs'), { recursive: true });
  await mkdir(join(path, 'repositories/docker.io/empty'));
  await writeFile(join(path, 'repositories/docker.io/file'), '');
  const found = await Array.fromAsync(records.repositoriesOf('docker.io'));
  expect(found.map(({ repository }) => repository).toSorted()).toEqual(names.toSorted());
  expect(await Array.fromAsync(records.repositoriesOf('quay.io'))).toEqual([]);
});

test('the manifests of a repository are those it has records of', async () => {
  const { records } = await preparedStores();
  const repositoryId = { upstream: 'docker.io', repository: parseRepository('a') };
  const inside = { upstream: 'docker.io', repository: parseRepository('a/b') };
  await records.write({ kind: 'manifest', repositoryId, digest: named('one') }, { size: 1 });
  await records.write({ kind: 'blob', repositoryId, digest: named('blob') }, { size: 1 });
  await records.write({ kind: 'manifest', repositoryId: inside, digest: named('two') }, { size: 1 });
  expect(await Array.fromAsync(records.manifestsOf(repositoryId))).toEqual([named('one')]);
  expect(await Array.fromAsync(records.manifestsOf({ ...inside, upstream: 'quay.io' }))).toEqual([]);
});
