import type { Digest } from '../../oci/digest.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import { parseBlobRecord, parseManifestRecord, type RecordStore } from '../ports/record-store.ts';
import type { RepositoryId } from '../ports/repository-id.ts';

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
