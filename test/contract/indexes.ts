import type { RepositoryId } from '../../src/mirror/ports/repository-id.ts';
import type { Index, Link } from '../../src/mirror/ports/store-index.ts';
import { type Digest, digestOf } from '../../src/oci/digest.ts';
import { parseRepository, parseTag } from '../../src/oci/reference.ts';
import { type IndexOptions, startCompleteIndex } from '../support/sqlite-index.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

/** An index that nothing was noted in, and that is complete. */
async function onSqlite(options: IndexOptions = {}): Promise<Index> {
  const { index } = await startCompleteIndex(await temporaryDirectory(), options);
  return index;
}

/** Every implementation, and how a test gets one. */
export const indexes = [{ name: 'in SQLite', subject: onSqlite }];

export const alpine = repository('docker.io', 'library/alpine');
export const debian = repository('docker.io', 'library/debian');
export const elsewhere = repository('ghcr.io', 'library/alpine');
export const latest = parseTag('latest');

export function repository(upstream: string, name: string): RepositoryId {
  return { upstream, repository: parseRepository(name) };
}

export function named(name: string): Digest {
  return digestOf(Buffer.from(name));
}

export function indexBlob(index: Index, name: string, more: { size?: number; usedAtMs?: number } = {}): Digest {
  const digest = named(name);
  index.recordContent({ digest, size: 10, isManifest: false, names: [], usedAtMs: 1000, ...more });
  return digest;
}

export function indexManifest(index: Index, name: string, names: readonly Digest[], usedAtMs = 1000): Digest {
  const digest = named(name);
  index.recordContent({ digest, size: 1, isManifest: true, names, usedAtMs });
  return digest;
}

export function link(repositoryId: RepositoryId, digest: Digest, more: Partial<Link> = {}): Link {
  return { repositoryId, kind: 'blob', digest, mediaType: undefined, size: 10, ...more };
}

/** All that may be evicted, in order. */
export async function evictable(index: Index): Promise<readonly Digest[]> {
  return (await index.evictable({ limit: 1000 })).map(({ digest }) => digest);
}
