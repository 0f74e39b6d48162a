import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { DurableFolders } from '../../../../src/storage/filesystem/durable-folders.ts';
import { storeIdIn } from '../../../../src/storage/filesystem/store-id.ts';
import { ScriptedFiles } from '../../../support/scripted-files.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

async function store() {
  const folder = await temporaryDirectory();
  const files = new ScriptedFiles();
  const refused: unknown[] = [];
  const folders = new DurableFolders({ files });
  const id = () => storeIdIn({ folder, files, folders, onRefused: (cause) => refused.push(cause) });
  return { folder, files, refused, id };
}

test('the id of a store is made once', async () => {
  const { id, folder } = await store();
  const made = await id();
  expect(made).toMatch(/^[0-9a-f]{20}$/);
  expect(await id()).toBe(made);
  expect(await readFile(join(folder, 'store-id'), 'utf8')).toBe(`${made}\n`);
  expect(await (await store()).id()).not.toBe(made);
});

test('the id is synced before it is used, and so is its name', async () => {
  const { id, files, folder } = await store();
  await id();
  const calls = files.calls.map(({ operation, path }) => `${operation} ${path.slice(folder.length)}`);
  const order = ['write /store-id.new', 'sync /store-id.new', 'rename /store-id', 'sync '];
  expect(calls.filter((call) => order.includes(call))).toEqual(order);
});

test('a process on a full disk has an id of its own, and says so', async () => {
  const { id, files, refused } = await store();
  files.failWith = ({ operation }) => (operation === 'write' ? 'ENOSPC' : undefined);
  expect(await id()).toMatch(/^[0-9a-f]{20}$/);
  expect(refused).toMatchObject([{ code: 'ENOSPC' }]);
});

test('a file with something else is an error, not a new id: the view of the store would be lost', async () => {
  const { id, folder } = await store();
  await writeFile(join(folder, 'store-id'), 'something else');
  await expect(id()).rejects.toThrow('holds no id of a store');
});
