import type { Digest } from '../../oci/digest.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import type { RecordStore } from '../ports/record-store.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import { parseBlobRecord, parseManifestRecord } from '../ports/records.ts';

export type Presence = 'stored' | 'lost' | 'never-pulled';

/** Tells what of a digest a repository still has, from the store alone. */
export type ContentLookup = (of: RepositoryId, digest: Digest) => Promise<Presence>;

/** @returns `lost` when the repository once served the digest and its bytes are no longer there. */
export function createContentLookup({ store, records }: { store: BlobStore; records: RecordStore }): ContentLookup {
  return async (of, digest) => {
    const blob = parseBlobRecord(await records.read({ kind: 'blob', of, digest }));
    const record = blob ?? parseManifestRecord(await records.read({ kind: 'manifest', of, digest }));
    if (!record) return 'never-pulled';
    return (await isThere(store, digest, record.size)) ? 'stored' : 'lost';
  };
}

/** What cannot be opened now is not gone. */
async function isThere(store: BlobStore, digest: Digest, size: number | undefined): Promise<boolean> {
  try {
    await using stored = await store.open(digest, size);
    return stored !== undefined;
  } catch {
    return true;
  }
}
