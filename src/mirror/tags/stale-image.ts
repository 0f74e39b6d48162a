import type { Digest } from '../../oci/digest.ts';
import { namedBy } from '../../oci/manifest.ts';
import type { CachedManifest, Manifests } from '../manifests/manifests.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import { parseBlobRecord, parseManifestRecord, type RecordStore, type TagRecord } from '../ports/record-store.ts';
import type { RepositoryId } from '../ports/repository-id.ts';

export interface StaleImageDeps {
  readonly manifests: Pick<Manifests, 'cached'>;
  readonly lookup: ContentLookup;
}

/** The newest image that a tag has pointed to, of which everything that was once pulled is still stored. */
export async function newestComplete(
  repositoryId: RepositoryId,
  { digest, previous }: TagRecord,
  deps: StaleImageDeps,
): Promise<CachedManifest | undefined> {
  for (const candidate of previous ? [digest, previous] : [digest]) {
    const manifest = await deps.manifests.cached(repositoryId, candidate);
    if (manifest && (await isComplete(repositoryId, manifest, deps))) return manifest;
  }
  return undefined;
}

/** Walks the image without recursion: an index may name further indexes, to any depth. */
async function isComplete(
  repositoryId: RepositoryId,
  root: CachedManifest,
  { manifests, lookup }: StaleImageDeps,
): Promise<boolean> {
  const seen = new Set<Digest>();
  const waiting = namedBy(root.bytes).map(({ digest }) => digest);
  for (let digest = waiting.pop(); digest !== undefined; digest = waiting.pop()) {
    if (seen.has(digest)) continue;
    seen.add(digest);
    const presence = await lookup(repositoryId, digest);
    if (presence === 'lost') return false;
    const child = presence === 'stored' ? await manifests.cached(repositoryId, digest) : undefined;
    if (child) waiting.push(...namedBy(child.bytes).map((named) => named.digest));
  }
  return true;
}

export type Presence = 'stored' | 'lost' | 'never-pulled';

/** Looks up whether a repository still has a digest, in the store alone. */
export type ContentLookup = (repositoryId: RepositoryId, digest: Digest) => Promise<Presence>;

/** @returns a lookup that answers `lost` when the repository had the digest and its bytes are gone. */
export function createContentLookup({ store, records }: { store: BlobStore; records: RecordStore }): ContentLookup {
  return async (repositoryId, digest) => {
    const blob = parseBlobRecord(await records.read({ kind: 'blob', repositoryId, digest }));
    const record = blob ?? parseManifestRecord(await records.read({ kind: 'manifest', repositoryId, digest }));
    if (!record) return 'never-pulled';
    return (await isThere(store, digest, record.size)) ? 'stored' : 'lost';
  };
}

/** A blob that cannot be opened now is not gone. */
async function isThere(store: BlobStore, digest: Digest, size: number | undefined): Promise<boolean> {
  try {
    await using stored = await store.open(digest, size);
    return stored !== undefined;
  } catch {
    return true;
  }
}
