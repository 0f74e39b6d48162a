import { mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { blobPath, recordPath } from '../../../../src/storage/layout.ts';
import { fileStores } from '../../../support/file-stores.ts';
import { ScriptedFiles } from '../../../support/scripted-files.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

const bytes = Buffer.from('layer');
const digest = digestOf(bytes);

test('a missing store is created, with access for its owner only', async () => {
  const path = join(await temporaryDirectory(), 'deep', 'er');
  const { store, records } = fileStores({ path });
  await store.prepare();
  const key = {
    kind: 'tag-list',
    repositoryId: { upstream: 'ghcr.io', repository: parseRepository('org/app') },
  } as const;
  await store.put(digest, bytes);
  await records.write(key, {});

  expect((await readdir(path)).toSorted()).toEqual(['blobs', 'incoming', 'repositories', 'set-aside']);
  const modeOf = async (name: string): Promise<number> => (await stat(join(path, name))).mode & 0o777;
  for (const folder of ['', 'blobs/sha256', 'repositories/ghcr.io/org']) expect(await modeOf(folder)).toBe(0o700);
  for (const file of [blobPath(digest), recordPath(key)]) expect(await modeOf(file)).toBe(0o600);
});

test('a start keeps stored content and removes what an earlier process was writing', async () => {
  const path = await temporaryDirectory();
  const former = fileStores({ path });
  await former.store.prepare();
  await former.store.put(digest, bytes);
  await writeFile(join(path, 'incoming', 'half-a-blob'), 'half');
  await using unfinished = await former.store.create(digest, 'docker.io');
  await unfinished.append([bytes]);

  const { store } = fileStores({ path });
  await store.prepare();
  expect(await readdir(join(path, 'incoming'))).toEqual([]);
  expect(await store.readAll(digest, 100)).toEqual(bytes);
  expect(store.pendingBytes()).toBe(0);
});

test('a process that dies while it checks its folders leaves a file that the next start removes', async () => {
  const path = await temporaryDirectory();
  const files = new ScriptedFiles();
  const died = Promise.withResolvers<void>();
  files.before = async ({ operation, path: file }) => {
    if (operation !== 'unlink' || !(await readdir(join(path, 'repositories'))).includes(basename(file))) return;
    died.resolve();
    await new Promise(() => {});
  };
  void fileStores({ path, files }).store.prepare();
  await died.promise;

  await fileStores({ path }).store.prepare();
  const left = await readdir(path, { recursive: true, withFileTypes: true });
  expect(left.filter((entry) => entry.isFile())).toEqual([]);
});

test('a path that is not a folder is rejected in one line that names it', async () => {
  const path = join(await temporaryDirectory(), 'file');
  await writeFile(path, '');
  await expect(fileStores({ path }).store.prepare()).rejects.toThrow(
    expect.objectContaining({
      message: expect.stringMatching(new RegExp(`^the storage path ${path} cannot be used: ENOTDIR.*$`)),
    }),
  );
});

test.each([
  { folder: 'incoming', operation: 'open', code: 'EACCES' },
  { folder: 'blobs', operation: 'rename', code: 'EACCES' },
  { folder: 'repositories', operation: 'rename', code: 'EXDEV' },
  { folder: 'set-aside', operation: 'rename', code: 'EACCES' },
])('a $folder folder without write permission ($code) is rejected at start', async ({ folder, operation, code }) => {
  const path = await temporaryDirectory();
  const files = new ScriptedFiles();
  files.failWith = (call) =>
    call.operation === operation && call.path.startsWith(join(path, folder, '/')) ? code : undefined;
  const refused = new RegExp(`^the storage path ${path} cannot be used: ${code}`);
  await expect(fileStores({ path, files }).store.prepare()).rejects.toThrow(refused);
  expect(await readdir(join(path, folder))).not.toContainEqual(expect.stringMatching(/-/));
});

test.each(['ENOSPC', 'EDQUOT', 'EROFS'])(
  'folders that the disk rejects for now (%s) are created by the first write',
  async (code) => {
    const path = await temporaryDirectory();
    const files = new ScriptedFiles();
    files.failWith = ({ operation }) => (operation === 'mkdir' ? code : undefined);
    const { store, failures } = fileStores({ path, files });
    await store.prepare();
    expect(failures).toMatchObject([{ code }]);
    await expect(store.put(digest, bytes)).rejects.toMatchObject({ code });

    files.failWith = () => undefined;
    await store.put(digest, bytes);
    expect(await store.readAll(digest, 100)).toEqual(bytes);
    await store.quarantine(digest, 'scrub');
    expect(await readdir(path)).toContain('set-aside');
    expect(await store.readAll(digest, 100)).toBeUndefined();
  },
);

test('nothing is created in a store that this process does not own', async () => {
  const path = await temporaryDirectory();
  let refusal: Error | undefined = new Error('another process has it');
  const hold = async (): Promise<void> => {
    if (refusal) throw refusal;
  };
  const { store, records } = fileStores({ path, hold });
  await store.prepare();
  const key = {
    kind: 'tag-list',
    repositoryId: { upstream: 'ghcr.io', repository: parseRepository('org/app') },
  } as const;
  await expect(store.put(digest, bytes)).rejects.toBe(refusal);
  await expect(records.write(key, {})).rejects.toBe(refusal);
  expect(await Array.fromAsync(store.list())).toEqual([]);
  expect(await Array.fromAsync(records.list())).toEqual([]);

  refusal = undefined;
  await store.put(digest, bytes);
  expect(await store.readAll(digest, 100)).toEqual(bytes);
});

test('the write test leaves no file', async () => {
  const path = await temporaryDirectory();
  await fileStores({ path }).store.prepare();
  expect((await readdir(path, { recursive: true })).toSorted()).toEqual(
    ['blobs', 'blobs/sha256', 'blobs/sha512', 'incoming', 'repositories', 'set-aside'].toSorted(),
  );
});

test('files that are neither content nor records are kept and never listed', async () => {
  const path = await temporaryDirectory();
  const { store, records } = fileStores({ path });
  await store.prepare();
  await mkdir(join(path, 'blobs/sha256/zz/folder'), { recursive: true });
  await mkdir(join(path, 'repositories/docker.io'), { recursive: true });
  for (const junk of ['blobs/lost+found', 'blobs/sha256/zz/x', 'repositories/docker.io/.DS_Store']) {
    await writeFile(join(path, junk), '');
  }
  await store.prepare();
  expect(await Array.fromAsync(store.list())).toEqual([]);
  expect(await Array.fromAsync(records.list())).toEqual([]);
  expect(await readdir(join(path, 'blobs'))).toContain('lost+found');
});

test.each(['incoming', 'blobs', 'blobs/sha256', 'repositories', 'set-aside'])(
  'a symbolic link in place of %s is rejected at start, and its target is not touched',
  async (folder) => {
    const path = await temporaryDirectory();
    const elsewhere = await temporaryDirectory();
    await writeFile(join(elsewhere, 'precious'), 'mine');
    await mkdir(dirname(join(path, folder)), { recursive: true });
    await symlink(elsewhere, join(path, folder));
    await expect(fileStores({ path }).store.prepare()).rejects.toThrow(
      `the storage path ${path} cannot be used: ${folder} is a symbolic link`,
    );
    expect(await readdir(elsewhere)).toEqual(['precious']);
  },
);

test('the storage path itself may be a symbolic link', async () => {
  const path = await temporaryDirectory();
  const link = join(await temporaryDirectory(), 'link');
  await symlink(path, link);
  const { store } = fileStores({ path: link });
  await store.prepare();
  await store.put(digest, bytes);
  expect(await readdir(join(path, 'blobs'))).toContain('sha256');
});
