import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RecordKey } from '../../src/mirror/ports/record-store.ts';
import { algorithmOf, type Digest, digestOf } from '../../src/oci/digest.ts';
import { blobPath, digestAt, recordKeyAt, recordPath } from '../../src/storage/layout.ts';

/** What lies on the disk of a store, looked at from outside the program. */
export interface StoreOnDisk {
  /** Everything in blobs/ that has the name of a digest. */
  readonly blobs: ReadonlyMap<Digest, { readonly size: number; readonly isWhole: boolean }>;
  readonly records: readonly RecordKey[];
  /** Names of what was being written. */
  readonly incoming: readonly string[];
  readonly quarantine: readonly string[];
}

/** Reads it all, and hashes every blob. */
export async function storeOnDisk(path: string): Promise<StoreOnDisk> {
  const digests = (await filesIn(path, 'blobs')).flatMap((file) => digestAt(file) ?? []);
  const blobs = new Map<Digest, { size: number; isWhole: boolean }>();
  for (const digest of digests) {
    const bytes = await readFile(join(path, blobPath(digest)));
    blobs.set(digest, { size: bytes.length, isWhole: digestOf(bytes, algorithmOf(digest)) === digest });
  }
  return {
    blobs,
    records: (await filesIn(path, 'repositories')).flatMap((file) => recordKeyAt(file) ?? []),
    incoming: await readdir(join(path, 'incoming')),
    quarantine: await readdir(join(path, 'set-aside')),
  };
}

/** The file of a blob. */
export function blobFile(path: string, digest: Digest): string {
  return join(path, blobPath(digest));
}

/** The file of a record. */
export function recordFile(path: string, key: RecordKey): string {
  return join(path, recordPath(key));
}

async function filesIn(path: string, folder: string): Promise<readonly string[]> {
  const entries = await readdir(join(path, folder), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1));
}
