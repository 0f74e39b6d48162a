import { mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Owner, thisTest } from './owner.ts';

/** An empty directory that is gone, with all it holds, when its owner is done. */
export async function temporaryDirectory(owner: Owner = thisTest): Promise<string> {
  return directoryIn(tmpdir(), owner);
}

/** Likewise, in memory if this machine has a file system there: nothing waits for a disk to sync. */
export async function directoryInMemory(owner: Owner = thisTest): Promise<string> {
  return directoryIn((await hasRoom(memory)) ? memory : tmpdir(), owner);
}

/** A tmpfs, on Linux. */
const memory = '/dev/shm';
/** Containers have often 64 MiB there. */
const wantedBytes = 4 * 1024 ** 3;

async function hasRoom(path: string): Promise<boolean> {
  const free = await statfs(path).catch(() => undefined);
  return free !== undefined && free.bavail * free.bsize >= wantedBytes;
}

async function directoryIn(parent: string, owner: Owner): Promise<string> {
  const path = await mkdtemp(join(parent, 'layerwell-test-'));
  owner(() => rm(path, { recursive: true, force: true, maxRetries: 5 }));
  return path;
}
