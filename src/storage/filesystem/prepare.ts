import { join } from 'node:path';
import { refusesForNow } from '../../mirror/ports/blob-store.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import { blobsFolder, incomingFolder, repositoriesFolder, quarantineFolder } from '../layout.ts';
import { type DurableFolders, probeName } from './durable-folders.ts';
import { failedWith, type FileSystem } from './file-system.ts';

export interface StoreFolders {
  /** The storage path. */
  readonly path: string;
  readonly files: FileSystem;
  readonly folders: DurableFolders;
  readonly observer: Pick<Observer, 'internalError'>;
  /** Removes what cannot be used any more. */
  readonly sweep: () => Promise<void>;
}

/** Folders that must be on the same disk as incoming/, since files are renamed into them. */
const targets = [blobsFolder, repositoriesFolder, quarantineFolder];
/** Synced at every start: an earlier process may have died before these were on the disk. */
const fixed = [...targets, incomingFolder, `${blobsFolder}/sha256`, `${blobsFolder}/sha512`];

/**
 * Creates the folders of a store, checks that files can be moved into them, and sweeps. A disk that accepts no writes now is reported: its
 * content can be served.
 * @throws Error of one line with the storage path and the disk's error.
 */
export async function prepareFolders(store: StoreFolders): Promise<void> {
  try {
    await refuseLinks(store);
    await makeFolders(store);
    await store.sweep();
    for (const target of targets) await moveProbeInto(target, store);
  } catch (cause) {
    if (refusesForNow(cause)) return store.observer.internalError({ part: 'store', cause });
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`the storage path ${store.path} cannot be used: ${reason}`, { cause });
  }
}

/** Files in incoming/ are removed at start, and a rename is atomic on one disk only, so no folder may be a link. The storage path itself may. */
async function refuseLinks({ path, files }: StoreFolders): Promise<void> {
  for (const folder of fixed) {
    if (await isLink(join(path, folder), files)) throw new Error(`${folder} is a symbolic link`);
  }
}

async function isLink(path: string, files: FileSystem): Promise<boolean> {
  try {
    return (await files.lstat(path)).kind === 'link';
  } catch (error) {
    if (failedWith(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}

async function makeFolders({ path, folders }: StoreFolders): Promise<void> {
  await folders.make(path);
  for (const folder of fixed) await folders.make(join(path, folder));
  for (const folder of ['', blobsFolder]) await folders.sync(join(path, folder));
}

async function moveProbeInto(target: string, { path, files, folders }: StoreFolders): Promise<void> {
  const from = join(path, incomingFolder, probeName);
  const to = join(path, target, probeName);
  const probe = await files.open(from, 'create');
  await probe.close();
  try {
    await files.rename(from, to);
  } finally {
    await folders.remove(from);
    await folders.remove(to);
  }
}
