import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { StoreObserver } from '../../../../src/mirror/ports/observer.ts';
import { observedFiles } from '../../../../src/storage/filesystem/file-system.ts';
import { gate } from '../../../support/gate.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { type FileCall, ScriptedFiles } from '../../../support/scripted-files.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

type Answered = Parameters<StoreObserver['diskAnswered']>[0];

async function start() {
  const [disk, clock, answered] = [new ScriptedFiles(), new ManualClock(), [] as Answered[]];
  const files = observedFiles(disk, { clock, observer: { diskAnswered: (event) => void answered.push(event) } });
  const folder = await temporaryDirectory();
  const told = () => answered.splice(0).map(({ operation, outcome }) => `${operation} ${outcome}`);
  return { disk, clock, answered, files, folder, told };
}

test('every call of the disk is told with its operation', async () => {
  const { files, folder, told } = await start();
  const [made, path, moved] = [join(folder, 'made'), join(folder, 'file'), join(folder, 'moved')];
  await files.mkdir(made);
  const file = await files.open(path, 'create');
  await file.write([Buffer.from('content')], 0);
  await file.truncate(4);
  await file.sync();
  await file.status();
  expect(await file.read(Buffer.alloc(10), 0)).toBe(4);
  await file.close();
  await files.rename(path, moved);
  await files.stat(moved);
  await files.lstat(moved);
  await files.mayChange(folder);
  await files.freeSpace(folder);
  expect((await Array.fromAsync(files.entries(folder))).map(({ name }) => name).toSorted()).toEqual(['made', 'moved']);
  await files.unlink(moved);
  await files.rmdir(made);
  const calls = ['change', 'open', 'write', 'write', 'sync', 'status', 'read', 'change'];
  const rest = ['status', 'status', 'status', 'status', 'change', 'change'];
  expect(told()).toEqual([...calls, ...rest].map((operation) => `${operation} ok`));
});

test('a slow disk is told with the time that the call took', async () => {
  const { disk, clock, answered, files, folder } = await start();
  const answering = gate();
  disk.before = ({ operation }) => (operation === 'sync' ? answering.opened : Promise.resolve());
  const file = await files.open(join(folder, 'file'), 'create');
  const syncing = file.sync();
  clock.advance(2_500);
  answering.open();
  await syncing;
  await file.close();
  expect(answered.at(-1)).toEqual({ operation: 'sync', outcome: 'ok', durationMs: 2_500 });
});

test.each([
  ['ENOSPC', 'full'],
  ['EDQUOT', 'full'],
  ['EROFS', 'readonly'],
  ['EACCES', 'denied'],
  ['EMFILE', 'descriptors'],
  ['EIO', 'io'],
  ['ESTALE', 'other'],
  ['ENOENT', 'ok'],
  ['EEXIST', 'ok'],
  ['ENAMETOOLONG', 'ok'],
])('%s is told as %s, and the caller gets the error', async (code, outcome) => {
  const { disk, files, folder, told } = await start();
  disk.failWith = ({ operation }: FileCall) => (operation === 'open' ? code : undefined);
  await expect(files.open(join(folder, 'file'), 'read')).rejects.toMatchObject({ code });
  expect(told()).toEqual([`open ${outcome}`]);
});

test('syncs that hang take four threads at most: other calls are answered', async () => {
  const disk = new ScriptedFiles();
  const recovered = gate();
  disk.before = async ({ operation }) => {
    if (operation === 'sync') await recovered.opened;
  };
  const files = observedFiles(disk, { observer: { diskAnswered: () => {} }, clock: new ManualClock() });
  const file = await files.open(join(await temporaryDirectory(), 'file'), 'create');
  const syncs = Array.from({ length: 10 }, () => file.sync());
  for (let turn = 0; turn < 10; turn += 1) await nextTurn();
  expect(disk.calls.filter(({ operation }) => operation === 'sync')).toHaveLength(4);
  expect(await file.status()).toMatchObject({ size: 0 });
  recovered.open();
  await Promise.all(syncs);
  await file.close();
});
