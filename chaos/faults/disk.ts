import { execFile, spawnSync } from 'node:child_process';
import { mkdir, open, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Digest } from '../../src/oci/digest.ts';
import { blobPath, blobsFolder, digestAt, repositoriesFolder } from '../../src/storage/layout.ts';
import type { Dice } from '../dice.ts';

const run = promisify(execFile);
const ballastPiece = Buffer.alloc(256 * 1024, 'ballast');

/** The disk of the mirror's store, which can be filled. */
export interface Disk extends AsyncDisposable {
  /** The storage path. */
  readonly dataFolder: string;
  /** A description for the report. */
  readonly description: string;
  /** Fills the disk, and keeps it full until the signal aborts. Undefined if the disk cannot be filled. */
  readonly fill: ((signal: AbortSignal) => Promise<void>) | undefined;
}

/** A small tmpfs for the store, if one can be mounted; else a folder, which is never full. */
export async function prepareDisk(folder: string, bytes: number): Promise<Disk> {
  const mountPoint = join(folder, 'disk');
  await mkdir(mountPoint);
  const dataFolder = join(mountPoint, 'data');
  try {
    await run('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'tmpfs', mountPoint]);
  } catch {
    const description =
      'a folder (no tmpfs could be mounted, so the disk was never full: only storage.maxSize bounds it)';
    return { dataFolder, description, fill: undefined, [Symbol.asyncDispose]: async () => {} };
  }
  // Unmounts however the run ends.
  const unmount = (): void => {
    spawnSync('umount', ['-l', mountPoint]);
  };
  process.once('exit', unmount);
  return {
    dataFolder,
    description: `a tmpfs of ${Math.round(bytes / 1024 / 1024)} MiB`,
    fill: (signal) => fill(join(mountPoint, 'ballast'), signal),
    [Symbol.asyncDispose]: async () => {
      process.off('exit', unmount);
      unmount();
    },
  };
}

async function fill(file: string, signal: AbortSignal): Promise<void> {
  await using ballast = await open(file, 'w');
  try {
    while (!signal.aborted) {
      // A write that does not fit fails or is short. Evictions make room for more.
      await ballast.write(ballastPiece).catch(() => sleep(10));
      await sleep(1);
    }
  } finally {
    await rm(file);
  }
}

export interface Damage {
  readonly what: 'one byte flipped' | 'truncated' | 'record garbled';
  /** The digest of the blob, if it was one. */
  readonly digest?: Digest;
}

/** Damages a random file of the store that may be damaged. @returns what was done; undefined if there was no such file. */
export async function damage(
  dataFolder: string,
  dice: Dice,
  mayBeDamaged: (digest: Digest) => boolean,
): Promise<Damage | undefined> {
  if (dice.isLucky(0.15)) return garbleRecord(dataFolder, dice);
  const files = await filesIn(dataFolder, blobsFolder);
  const digests = files.map(digestAt).filter((digest) => digest !== undefined && mayBeDamaged(digest));
  const digest = digests.length === 0 ? undefined : dice.pick(digests);
  const what = digest && (await damageBlob(join(dataFolder, blobPath(digest)), dice));
  return what && { what, digest };
}

async function damageBlob(path: string, dice: Dice): Promise<Damage['what'] | undefined> {
  try {
    await using file = await open(path, 'r+');
    const { size } = await file.stat();
    if (dice.isLucky(0.4)) {
      await file.truncate(dice.below(size));
      return 'truncated';
    }
    const at = dice.below(size);
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, at);
    byte.writeUInt8(byte.readUInt8() ^ 0x01);
    await file.write(byte, 0, 1, at);
    return 'one byte flipped';
  } catch {
    return undefined; // It has been evicted, or the disk is full.
  }
}

/** Garbles a record, except records of pinned images, which must not fail. */
async function garbleRecord(dataFolder: string, dice: Dice): Promise<Damage | undefined> {
  const records = await filesIn(dataFolder, repositoriesFolder);
  const paths = records.filter((path) => !path.includes('pinned'));
  if (paths.length === 0) return undefined;
  try {
    await writeFile(join(dataFolder, dice.pick(paths)), '{"digest": tru', { flag: 'r+' });
    return { what: 'record garbled' };
  } catch {
    return undefined;
  }
}

async function filesIn(dataFolder: string, folder: string): Promise<readonly string[]> {
  const entries = await readdir(join(dataFolder, folder), { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(dataFolder.length + 1));
}
