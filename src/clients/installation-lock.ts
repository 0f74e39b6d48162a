import { createHash } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf } from './installed-files.ts';

/** An installation takes milliseconds. */
const usuallyWaitsMs = 10_000;
const triesEveryMs = 50;

/**
 * Does the work while no other process of this machine does the same for this folder. The lock is a name that the kernel gives to one
 * process, and takes back when it ends, however it ends. Linux only: elsewhere the work is done without.
 * @throws if another process has the lock for 10 s.
 */
export async function withInstallationLock<Result>(
  { root, folder }: { readonly root: string; readonly folder: string },
  work: () => Promise<Result>,
  { waitsAtMostMs = usuallyWaitsMs }: { readonly waitsAtMostMs?: number } = {},
): Promise<Result> {
  const place = createHash('sha256')
    .update(`${await realpath(root)}\0${folder}`)
    .digest('hex');
  const lock = await lockedBy(`\0layerwell-client-${place.slice(0, 32)}`, { folder, waitsAtMostMs });
  try {
    return await work();
  } finally {
    lock?.close();
  }
}

async function lockedBy(
  name: string,
  { folder, waitsAtMostMs }: { readonly folder: string; readonly waitsAtMostMs: number },
): Promise<Server | undefined> {
  for (let waitedMs = 0; waitedMs <= waitsAtMostMs; waitedMs += triesEveryMs) {
    const got = await listening(name);
    if (got !== 'taken') return got;
    await sleep(triesEveryMs);
  }
  throw new Error(`another process of layerwell is at work on ${folder}`);
}

/** @returns undefined where there are no such names. */
function listening(name: string): Promise<Server | 'taken' | undefined> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (cause) => resolve(codeOf(cause) === 'EADDRINUSE' ? 'taken' : undefined));
    server.listen(name, () => resolve(server.unref()));
  });
}
