import { readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { RecordKey } from '../../../../src/mirror/ports/record-store.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { blobPath } from '../../../../src/storage/layout.ts';
import { failingAtEachCall, type FileStores, fileStores, preparedStores } from '../../../support/file-stores.ts';
import type { FileCall, ScriptedFiles } from '../../../support/scripted-files.ts';

const bytes = Buffer.alloc(10_000, 'layer');
const digest = digestOf(bytes);
const manifest = Buffer.from('{"schemaVersion":2}');
const latest: RecordKey = {
  kind: 'tag',
  repositoryId: { upstream: 'docker.io', repository: parseRepository('library/alpine') },
  tag: parseTag('latest'),
};

/** Everything a pull does with the stores. */
async function pull({ store, records }: FileStores): Promise<void> {
  {
    await using incoming = await store.create(digest, 'docker.io');
    await incoming.append([bytes.subarray(0, 5000), bytes.subarray(5000)]);
    await incoming.read(Buffer.alloc(10), 0);
    await incoming.commit();
  }
  await store.put(digestOf(manifest), manifest);
  await records.write(latest, { digest });
  await records.read(latest);
  await store.readAll(digestOf(manifest), 1000);
  await using blob = await store.open(digest, bytes.byteLength);
  await blob?.read(Buffer.alloc(100), 0);
  await Array.fromAsync(store.list());
  await Array.fromAsync(records.list());
  await records.remove(latest);
  await store.remove(digest);
}

test.each(['EIO', 'ENOENT'])(
  'whichever disk call fails with %s, nothing half done is visible and the next pull succeeds',
  async (code) => {
    for await (const stores of failingAtEachCall(code, pull)) {
      const { store, records, corrupt } = stores;
      expect([undefined, bytes.toString()]).toContain((await store.readAll(digest, 100_000))?.toString());
      expect([undefined, { digest }]).toContainEqual(await records.read(latest));
      expect(corrupt).toEqual([]);
      expect(store.isBeingRead(digest)).toBe(false);
      await pull(stores);
    }
  },
);

async function appendUnder(files: ScriptedFiles, stores: FileStores): Promise<void> {
  files.maxWriteBytes = 777;
  await using incoming = await stores.store.create(digest, 'docker.io');
  await incoming.append([bytes.subarray(0, 1), new Uint8Array(), bytes.subarray(1, 1000), bytes.subarray(1000, 1554)]);
  await incoming.append([bytes.subarray(1554)]);
  await incoming.commit();
}

test('a disk that writes a few bytes at a time gets all of them', async () => {
  const stores = await preparedStores();
  await appendUnder(stores.files, stores);
  expect(await stores.store.readAll(digest, 100_000)).toEqual(bytes);
  expect(stores.files.calls.filter(({ operation }) => operation === 'write').length).toBeGreaterThan(12);
});

test('a disk that writes no bytes, without an error, fails the append', async () => {
  const { store, files } = await preparedStores();
  await using incoming = await store.create(digest, 'docker.io');
  files.maxWriteBytes = 0;
  await expect(incoming.append([bytes])).rejects.toThrow(/returned 0 bytes/);
});

test('bytes of a failed append are neither read back nor kept: they may be appended again', async () => {
  const { store, files } = await preparedStores();
  await using incoming = await store.create(digest, 'docker.io');
  await incoming.append([bytes.subarray(0, 100)]);
  files.maxWriteBytes = 50;
  let writes = 0;
  files.failWith = ({ operation }) => (operation === 'write' && (writes += 1) === 3 ? 'ENOSPC' : undefined);
  await expect(incoming.append([bytes.subarray(100)])).rejects.toMatchObject({ code: 'ENOSPC' });
  expect(await incoming.read(Buffer.alloc(1000), 100)).toBe(0);
  expect(store.pendingBytes()).toBe(100);

  await incoming.append([bytes.subarray(100)]);
  await incoming.commit();
  expect(await store.readAll(digest, 100_000)).toEqual(bytes);
});

test('a temporary file that cannot be removed is reported, and counts until the next start', async () => {
  const { store, files, failures, path } = await preparedStores();
  files.failWith = ({ operation }) => (operation === 'unlink' ? 'EIO' : undefined);
  const incoming = await store.create(digest, 'docker.io');
  await incoming.append([bytes]);
  await incoming[Symbol.asyncDispose]();
  expect(failures).toMatchObject([{ code: 'EIO' }]);
  expect(store.pendingBytes()).toBe(bytes.byteLength);

  await fileStores({ path }).store.prepare();
  expect(await readdir(join(path, 'incoming'))).toEqual([]);
});

test('a corrupt blob that cannot be quarantined is not served either', async () => {
  const { store, files, corrupt, failures, path } = await preparedStores();
  await store.put(digest, bytes);
  await writeFile(join(path, blobPath(digest)), 'short');
  files.failWith = ({ operation }) => (operation === 'rename' ? 'EACCES' : undefined);
  expect(await store.open(digest, bytes.byteLength)).toBeUndefined();
  expect(corrupt).toEqual([digest]);
  expect(failures).toMatchObject([{ code: 'EACCES' }]);
  expect(store.pendingBytes()).toBe(0);
});

test.each<FileCall['operation']>(['open', 'fstat'])(
  'a blob whose %s fails is not reported as absent',
  async (operation) => {
    const { store, files } = await preparedStores();
    await store.put(digest, bytes);
    files.failWith = (call) => (call.operation === operation ? 'EMFILE' : undefined);
    await expect(store.open(digest)).rejects.toMatchObject({ code: 'EMFILE' });
    await expect(store.readAll(digest, 100_000)).rejects.toMatchObject({ code: 'EMFILE' });
    expect(store.isBeingRead(digest)).toBe(false);
  },
);

test('a record that the disk cannot read is not reported as absent', async () => {
  const { records, files } = await preparedStores();
  await records.write(latest, { digest });
  files.failWith = ({ operation }) => (operation === 'read' ? 'EIO' : undefined);
  await expect(records.read(latest)).rejects.toMatchObject({ code: 'EIO' });
  files.failWith = () => undefined;
  expect(await records.read(latest)).toEqual({ digest });
});

test('a failed write does not fail the next one', async () => {
  const { records, files } = await preparedStores();
  let writes = 0;
  files.failWith = ({ operation }) => (operation === 'write' && (writes += 1) === 1 ? 'ENOSPC' : undefined);
  const outcomes = await Promise.allSettled([
    records.write(latest, { number: 1 }),
    records.write(latest, { number: 2 }),
  ]);
  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
  expect(await records.read(latest)).toEqual({ number: 2 });
});

test('a blob that is truncated while it is read causes an error, and does not just end', async () => {
  const { store, path } = await preparedStores();
  await store.put(digest, bytes);
  await using blob = await store.open(digest, bytes.byteLength);
  await truncate(join(path, blobPath(digest)), 100);
  expect(await blob?.read(Buffer.alloc(1000), 0)).toBe(100);
  await expect(blob?.read(Buffer.alloc(1000), 100)).rejects.toThrow(/ends at 100/);
});

test('one file that the disk cannot stat does not hide the others', async () => {
  const { store, files, failures, path } = await preparedStores();
  await store.put(digest, bytes);
  await store.put(digestOf(manifest), manifest);
  files.failWith = (call) =>
    call.operation === 'stat' && call.path === join(path, blobPath(digest)) ? 'EIO' : undefined;
  expect(await Array.fromAsync(store.list())).toMatchObject([{ digest: digestOf(manifest) }]);
  expect(failures).toMatchObject([{ code: 'EIO' }]);
});

test('a folder that cannot be listed fails the listing: its files must not count as gone', async () => {
  const { store, records, files } = await preparedStores();
  await store.put(digest, bytes);
  await records.write(latest, { digest });
  files.failWith = (call) => (call.operation === 'entries' && /sha256|docker/.test(call.path) ? 'EACCES' : undefined);
  await expect(Array.fromAsync(store.list())).rejects.toMatchObject({ code: 'EACCES' });
  await expect(Array.fromAsync(records.list())).rejects.toMatchObject({ code: 'EACCES' });

  files.failWith = (call) => (call.operation === 'entries' && /sha256|docker/.test(call.path) ? 'ENOENT' : undefined);
  expect(await Array.fromAsync(store.list())).toEqual([]);
  expect(await Array.fromAsync(records.list())).toEqual([]);
});
