import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type RebuildDeps, rebuildIndex } from '../../src/index/rebuild.ts';
import type { LosableIndex } from '../../src/index/rebuilder.ts';
import type { Index } from '../../src/mirror/ports/store-index.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { parseRepository, parseTag } from '../../src/oci/reference.ts';
import type { FileStores } from './file-stores.ts';
import { type Image, image } from './images.ts';
import { never } from './sqlite-index.ts';

export const alpine = { upstream: 'docker.io', repository: parseRepository('library/alpine') };
export const local = { upstream: '127.0.0.1:5000', repository: parseRepository('app') };
export const latest = parseTag('latest');
export const everything = { limit: 1000 };
export const built = image({ layers: 2 });
/** The bytes of it all. */
export const whole = built.blobs.reduce((sum, { bytes }) => sum + bytes.byteLength, built.manifest.bytes.byteLength);

/** What a pull leaves in the store. */
export async function keepImage(
  { store, records }: FileStores,
  repositoryId = alpine,
  { manifest, blobs }: Image = built,
): Promise<void> {
  for (const { digest, bytes } of [manifest, ...blobs]) await store.put(digest, bytes);
  const { digest, mediaType, bytes } = manifest;
  await records.write(
    { kind: 'manifest', repositoryId, digest },
    { mediaType, size: bytes.byteLength, firstServedAtMs: 1 },
  );
  for (const blob of blobs) {
    await records.write(
      { kind: 'blob', repositoryId, digest: blob.digest },
      { size: blob.bytes.byteLength, firstServedAtMs: 1 },
    );
  }
  const tag = { digest, mediaType, size: bytes.byteLength, confirmedAtMs: 1 };
  await records.write({ kind: 'tag', repositoryId, tag: latest }, tag);
  await records.write({ kind: 'tag-list', repositoryId }, { tags: ['latest'], fetchedAtMs: 1 });
}

/** @returns what was reported. */
export function rebuild(
  index: LosableIndex,
  { store, records }: Pick<RebuildDeps, 'store' | 'records'>,
  signal = never,
): Promise<readonly unknown[]> {
  const failures: unknown[] = [];
  const observer = { internalError: ({ cause }: { cause: unknown }) => failures.push(cause) };
  return rebuildIndex({ store, records, index, observer, signal }).then(() => failures);
}

interface Stoppable {
  stop(): Promise<void>;
}

/** Leaves its file as a process does that is killed with nothing pending. */
export async function stopAsIfKilled(index: Stoppable, directory: string): Promise<void> {
  await index.stop();
  const database = new DatabaseSync(join(directory, 'index.sqlite'));
  database.exec('UPDATE state SET is_complete = 0');
  database.close();
}

export async function usedAt(index: Pick<Index, 'evictable'>, digest: Digest): Promise<number | undefined> {
  return (await index.evictable(everything)).find((content) => content.digest === digest)?.usedAtMs;
}
