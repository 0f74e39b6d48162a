import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { StoreLock } from '../../../src/index/store-lock.ts';
import { DurableFolders } from '../../../src/storage/filesystem/durable-folders.ts';
import { type FileSystem, nodeFiles } from '../../../src/storage/filesystem/file-system.ts';
import { ScriptedFiles } from '../../support/scripted-files.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';

function lockOf(folder: string, files: FileSystem = nodeFiles) {
  const failures: unknown[] = [];
  const observer = { internalError: ({ cause }: { cause: unknown }) => failures.push(cause) };
  const lock = new StoreLock({ folder, files: new DurableFolders({ files }), observer });
  onTestFinished(() => lock.stop());
  return { lock, failures };
}

test('a store is locked by one process until it stops, and the next one knows how that run ended', async () => {
  const folder = join(await temporaryDirectory(), 'data');
  const { lock: first } = lockOf(folder);
  await first.start();
  expect(first.lastRun).toBeUndefined();
  const { lock: second } = lockOf(folder);
  await expect(second.start()).rejects.toThrow(`the storage path ${folder} is in use by another process`);

  await first.stop();
  await second.start();
  expect(second.lastRun).toBe(first.run);
  expect(second.run).not.toBe(first.run);
});

test('a broken lock file is reported and replaced, and the last run counts as unknown', async () => {
  const folder = await temporaryDirectory();
  await writeFile(join(folder, 'lock.sqlite'), Buffer.alloc(10_000, 'garbage'));
  const { lock, failures } = lockOf(folder);
  await lock.start();
  expect(failures).toHaveLength(1);
  expect(lock.lastRun).toBeUndefined();
  await expect(lockOf(folder).lock.start()).rejects.toThrow('in use by another process');
});

test('a store that cannot be locked is used without a lock, with a warning', async () => {
  const folder = await temporaryDirectory();
  await mkdir(join(folder, 'lock.sqlite', 'in the way'), { recursive: true });
  const { lock, failures } = lockOf(folder);
  await lock.start();
  expect(failures).toHaveLength(2);
  expect(lock.lastRun).toBeUndefined();
});

test('a storage path that cannot be created causes an error that names it', async () => {
  const file = join(await temporaryDirectory(), 'file');
  await writeFile(file, '');
  await expect(lockOf(join(file, 'data')).lock.start()).rejects.toThrow(
    `the storage path ${join(file, 'data')} cannot be used: ENOTDIR`,
  );
});

test('a storage path without write permission causes one error that names it', async () => {
  const folder = await temporaryDirectory();
  const files = new ScriptedFiles();
  files.failWith = ({ operation }) => (operation === 'mayChange' ? 'EACCES' : undefined);
  const { lock, failures } = lockOf(folder, files);
  await expect(lock.start()).rejects.toThrow(`the storage path ${folder} cannot be used: EACCES`);
  expect(failures).toEqual([]);
});

test('a missing storage path on a read-only disk causes an error that names it: there is nothing to serve', async () => {
  const folder = join(await temporaryDirectory(), 'data');
  const files = new ScriptedFiles();
  files.failWith = ({ operation }) => (operation === 'mkdir' ? 'EROFS' : undefined);
  const { lock } = lockOf(folder, files);
  await expect(lock.start()).rejects.toThrow(`the storage path ${folder} cannot be used: EROFS`);
});

test('a store on a read-only disk is locked before its first write, once it is writable', async () => {
  const folder = await temporaryDirectory();
  const files = new ScriptedFiles();
  files.failWith = ({ operation }) => (operation === 'mayChange' ? 'EROFS' : undefined);
  const { lock: first, failures } = lockOf(folder, files);
  await first.start();
  expect(failures).toMatchObject([{ code: 'EROFS' }]);
  await expect(first.hold()).rejects.toMatchObject({ code: 'EROFS' });

  files.failWith = () => undefined;
  await Promise.all([first.hold(), first.hold()]);
  const { lock: second } = lockOf(folder);
  await expect(second.start()).rejects.toThrow(`the storage path ${folder} is in use by another process`);
  await first.stop();
  await second.start();
  expect(second.lastRun).toBe(first.run);
});

test('a store that another process has locked meanwhile is not written to', async () => {
  const folder = await temporaryDirectory();
  const files = new ScriptedFiles();
  files.failWith = ({ operation }) => (operation === 'mayChange' ? 'EROFS' : undefined);
  const { lock } = lockOf(folder, files);
  await lock.start();
  files.failWith = () => undefined;
  await lockOf(folder).lock.start();
  await expect(lock.hold()).rejects.toThrow(`the storage path ${folder} is in use by another process`);
});

test('a store whose lock file was removed is still locked', async () => {
  const folder = await temporaryDirectory();
  const { lock: first, failures } = lockOf(folder);
  await first.start();
  await rm(join(folder, 'lock.sqlite'));
  const { lock: second } = lockOf(folder);
  await expect(second.start()).rejects.toThrow(`the storage path ${folder} is in use by another process`);
  await expect(first.hold()).rejects.toThrow(`the storage path ${folder} is not what this process has locked`);
  expect(first.isMoved).toBe(true);
  await expect(first.hold()).rejects.toThrow('its lock removed');
  expect(failures).toHaveLength(1);
});

test('a process whose store was renamed writes nothing to a replacement, and continues when the store is back', async () => {
  const folder = join(await temporaryDirectory(), 'data');
  const { lock: first } = lockOf(folder);
  await first.start();
  await rename(folder, `${folder}.old`);
  await expect(first.hold()).rejects.toThrow('was renamed');
  const { lock: second } = lockOf(folder);
  await second.start();
  await second.hold();
  await expect(first.hold()).rejects.toThrow('was renamed');

  await second.stop();
  await rm(folder, { recursive: true });
  await rename(`${folder}.old`, folder);
  await first.hold();
  expect(first.isMoved).toBe(false);
});

test('writers at the same time look at the lock once', async () => {
  const folder = await temporaryDirectory();
  const files = new ScriptedFiles();
  const { lock } = lockOf(folder, files);
  await lock.start();
  const looks = () => files.calls.filter(({ operation }) => operation === 'lstat').length;
  const before = looks();
  await lock.hold();
  const ofOne = looks() - before;
  await Promise.all(Array.from({ length: 20 }, () => lock.hold()));
  expect(looks() - before).toBe(2 * ofOne);
});

test('a renamed store is noticed without a write', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  onTestFinished(() => void vi.useRealTimers());
  const folder = join(await temporaryDirectory(), 'data');
  const { lock, failures } = lockOf(folder);
  await lock.start();
  await rename(folder, `${folder}.old`);
  vi.advanceTimersByTime(10_000);
  await vi.waitUntil(() => lock.isMoved);
  expect(failures).toHaveLength(1);
});
