import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { nodeFiles } from '../../../../src/storage/filesystem/file-system.ts';
import { RemovalReserve } from '../../../../src/storage/filesystem/removal-reserve.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

const mib = 1024 * 1024;

async function reserveOn({ sizeBytes = 1024 * mib, maxBytes = 1024 * mib } = {}) {
  const file = join(await temporaryDirectory(), 'index.sqlite.reserve');
  const disk = { bytes: sizeBytes, sizeBytes };
  const failures: unknown[] = [];
  const scripted = { open: (...asked: Parameters<typeof nodeFiles.open>) => nodeFiles.open(...asked) };
  const reserve = new RemovalReserve({
    file,
    files: { ...nodeFiles, open: (...asked) => scripted.open(...asked), freeSpace: async () => disk },
    observer: { internalError: ({ cause }) => failures.push(cause) },
    maxBytes,
    hold: async () => {},
  });
  const heldBytes = () =>
    stat(file).then(
      ({ size }) => size,
      () => 0,
    );
  return { reserve, disk, file, failures, scripted, heldBytes };
}

test('the reserve is kept while the disk fills up, given back for a removal, and made again when there is plenty', async () => {
  const { reserve, disk, heldBytes } = await reserveOn();
  const held: number[] = [];
  const prepared = async (freeBytes: number) => {
    disk.bytes = freeBytes;
    await reserve.prepare();
    held.push((await heldBytes()) / mib);
  };
  for (const free of [1024 * mib, 5 * mib, 4 * mib - 1, 0]) await prepared(free);
  expect(await reserve.giveBack()).toBe(true);
  for (const free of [8 * mib, 16 * mib - 1, 16 * mib]) await prepared(free);
  expect(await reserve.giveBack()).toBe(false);
  expect(held).toEqual([4, 4, 4, 4, 0, 0, 4]);
});

test('after a removal half of what is free is taken at once, if it is enough for another removal', async () => {
  const { reserve, disk, heldBytes } = await reserveOn();
  for (const [free, held] of [
    [100 * 1024, 0],
    [mib, mib / 2],
    [64 * mib, 4 * mib],
  ] as const) {
    disk.bytes = 0;
    await reserve.giveBack();
    disk.bytes = free;
    await reserve.retake();
    await reserve.retake();
    expect(await heldBytes()).toBe(held);
  }
});

test('the reserve is small on a small disk, and beside a small store', async () => {
  for (const [sizes, bytes] of [
    [{ sizeBytes: 32 * mib }, mib],
    [{ maxBytes: 64 * mib }, mib],
    [{ maxBytes: 100 }, 0],
  ] as const) {
    const { reserve, heldBytes, failures } = await reserveOn(sizes);
    await reserve.prepare();
    expect([await heldBytes(), failures]).toEqual([bytes, []]);
  }
});

test('a reserve that a killed process left half written is completed', async () => {
  const { reserve, file, heldBytes } = await reserveOn();
  await writeFile(file, 'half');
  await reserve.prepare();
  expect(await heldBytes()).toBe(4 * mib);
});

test('a disk that refuses the reserve keeps nothing from being removed, and what is no refusal is reported', async () => {
  const { reserve, scripted, failures } = await reserveOn();
  for (const code of ['ENOSPC', 'EROFS', 'ENOENT', 'EIO']) {
    scripted.open = () => Promise.reject(Object.assign(new Error(code), { code }));
    await reserve.prepare();
  }
  expect(failures).toMatchObject([{ code: 'EIO' }]);
});
