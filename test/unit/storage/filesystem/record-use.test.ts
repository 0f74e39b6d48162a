import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { RecordKey } from '../../../../src/mirror/ports/record-store.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { repositoriesFolder } from '../../../../src/storage/layout.ts';
import { diskUseOf } from '../../../support/disk-use.ts';
import { fileStores, preparedStores } from '../../../support/file-stores.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

const digest = digestOf(Buffer.from('something'));
const repositoryId = (name: string) => ({ upstream: 'docker.io', repository: parseRepository(name) });
const list = (name: string): RecordKey => ({ kind: 'tag-list', repositoryId: repositoryId(name) });
const referrers = (name: string): RecordKey => ({ kind: 'referrers', repositoryId: repositoryId(name), digest });
const longList = { tags: Array.from({ length: 2_000 }, (_, number) => `tag-${number}`), fetchedAtMs: 0 };

test('the disk use of records is exact after each write and removal', async () => {
  const path = await temporaryDirectory();
  const { store, records } = fileStores({ path });
  await store.prepare();
  expect(records.use()).toEqual({ bytes: 0, files: 0 });
  const folder = join(path, repositoriesFolder);
  await records.write(list('library/a'), longList);
  await records.write(list('library/a'), { tags: ['1'], fetchedAtMs: 0 });
  await records.write(list('library/b'), longList);
  await records.write(referrers('library/a'), {});
  expect(records.use()).toEqual(await diskUseOf(folder));
  await records.remove(list('library/b'));
  expect(records.use()).toEqual(await diskUseOf(folder));
  for (const key of [list('library/a'), referrers('library/a')]) await records.remove(key);
  expect(records.use()).toEqual({ bytes: 0, files: 0 });
});

test('the records of an earlier process are counted by a walk, and not twice by the next walk', async () => {
  const path = await temporaryDirectory();
  const former = fileStores({ path });
  await former.store.prepare();
  await former.records.write(list('library/a'), longList);
  await former.records.write(referrers('team/b'), {});

  const { store, records } = fileStores({ path });
  await store.prepare();
  await records.write(list('library/c'), longList);
  for (const times of [1, 2]) {
    expect(await Array.fromAsync(records.list())).toHaveLength(3);
    expect([times, records.use()]).toEqual([times, await diskUseOf(join(path, repositoriesFolder))]);
  }
});

test('the disk use is exact after records of an earlier process were replaced and removed', async () => {
  const path = await temporaryDirectory();
  const former = fileStores({ path });
  await former.store.prepare();
  for (const name of ['library/a', 'library/b']) await former.records.write(list(name), longList);

  const { records } = fileStores({ path });
  await records.write(list('library/a'), { tags: ['1'], fetchedAtMs: 0 });
  await Array.fromAsync(records.list('loose'));
  expect(records.use()).toEqual(await diskUseOf(join(path, repositoriesFolder)));
  await records.remove(list('library/b'));
  expect(records.use()).toEqual(await diskUseOf(join(path, repositoriesFolder)));
});

test('a walk that is cut off changes nothing', async () => {
  const path = await temporaryDirectory();
  const { store, records } = fileStores({ path });
  await store.prepare();
  for (const name of ['library/a', 'library/b']) await records.write(list(name), longList);
  for await (const _ of records.list()) break;
  expect(records.use()).toEqual(await diskUseOf(join(path, repositoriesFolder)));
});

test('loose records are listed without reading the folders of links, which still count', async () => {
  const { records, files, path } = await preparedStores();
  const link: RecordKey = { kind: 'blob', repositoryId: repositoryId('library/a'), digest };
  for (const key of [link, list('library/a'), referrers('library/a')]) await records.write(key, {});
  files.calls.length = 0;
  const listed = await Array.fromAsync(records.list('loose'));
  expect(listed.map(({ kind }) => kind).toSorted()).toEqual(['referrers', 'tag-list']);
  const read = files.calls.filter(({ operation }) => operation === 'entries').map((call) => call.path);
  expect(read.filter((folder) => folder.includes('_blobs/'))).toEqual([]);
  const folders = (await diskUseOf(join(path, repositoriesFolder))).files - 3;
  expect(records.use().files).toBe(folders + 2);
});

test('files of downloads count while they are written, partial or in quarantine', async () => {
  const { store } = fileStores({ path: await temporaryDirectory() });
  await store.prepare();
  const incoming = await store.create(digest, 'docker.io');
  await incoming.append([Buffer.from('some')]);
  expect(store.pendingFiles()).toBe(1);
  await incoming.checkpoint({ bytes: 4, digest: digestOf(Buffer.from('some')) });
  await incoming.leave();
  await incoming[Symbol.asyncDispose]();
  expect(store.pendingFiles()).toBe(2);
  await store.dropPartial({ bytes: 4, leftBeforeMs: -Infinity });
  expect(store.pendingFiles()).toBe(0);
  await store.put(digest, Buffer.from('something'));
  await store.quarantine(digest, 'read');
  expect(store.pendingFiles()).toBe(1);
});
