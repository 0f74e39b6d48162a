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

/** Where the mirror's data is, and what can be done to it. */
export interface Disk extends AsyncDisposable {
  /** The storage path. */
  readonly dataFolder: string;
  /** In words, for the report. */
  readonly description: string;
  /** Takes all room there is, and whatever becomes free, until the signal aborts; undefined where the disk cannot be filled. */
  readonly fill: ((signal: AbortSignal) => Promise<void>) | undefined;
}

/** A small tmpfs for the data alone, where the machine lets us mount one; else a folder, which is never full. */
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
  // However the run ends, no mount is left behind.
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
      // What does not fit is refused, or taken in part; what is evicted meanwhile makes room for more.
      await ballast.write(ballastPiece).catch(() => sleep(10));
      await sleep(1);
    }
  } finally {
    await rm(file);
  }
}

export interface Damage {
  readonly what: 'one byte flipped' | 'truncated' | 'record garbled';
  /** Of the blob. */
  readonly digest?: Digest;
}

/** Damages a file of the store at random, unless it may not be. @returns what was done; undefined where there was nothing to damage. */
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
    return undefined; // It was evicted meanwhile, or the disk is full.
  }
}

/** Records of what is not pinned: those of the pinned are a part of what must not fail. */
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
