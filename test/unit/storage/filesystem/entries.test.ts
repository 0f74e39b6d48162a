import { mkdir, opendir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, test, vi } from 'vitest';
import { nodeFiles } from '../../../../src/storage/filesystem/file-system.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

vi.mock('node:fs/promises', { spy: true });
beforeEach(() => vi.clearAllMocks());

async function folderOf(files: number): Promise<string> {
  const folder = await temporaryDirectory();
  await mkdir(join(folder, 'folder'));
  await symlink('folder', join(folder, 'link'));
  const names = Array.from({ length: files }, (_, number) => `${number}`.padStart(60, 'x'));
  await Promise.all(names.map((name) => writeFile(join(folder, name), '')));
  return folder;
}

test.each([
  {
    what: 'a small folder is read at once: a handle for each of many folders is garbage that V8 collects late',
    files: 20,
    times: [1, 0],
  },
  { what: 'a large folder is read a few entries at a time', files: 3_000, times: [0, 1] },
])('$what', async ({ files, times }) => {
  const folder = await folderOf(files);
  const entries = await Array.fromAsync(nodeFiles.entries(folder));
  const countOf = (wanted: string) => entries.filter(({ kind }) => kind === wanted).length;
  expect([countOf('file'), countOf('folder'), countOf('other')]).toEqual([files, 1, 1]);
  expect([vi.mocked(readdir).mock.calls.length, vi.mocked(opendir).mock.calls.length]).toEqual(times);
});

test('a missing folder is an error of the disk', async () => {
  const entries = nodeFiles.entries(join(await temporaryDirectory(), 'missing'));
  await expect(Array.fromAsync(entries)).rejects.toMatchObject({ code: 'ENOENT' });
});
