import type { Digest } from '../oci/digest.ts';
import type { BlobStore, RecordStore, RepositoryId } from './ports.ts';
import { parseBlobRecord, parseManifestRecord } from './records.ts';

export type Presence = 'stored' | 'lost' | 'never-pulled';

/** Tells what of a digest a repository still has, from the store alone. */
export type ContentLookup = (of: RepositoryId, digest: Digest) => Promise<Presence>;

/** @returns `lost` when the repository once served the digest and its bytes are no longer there. */
export function createContentLookup({ store, records }: { store: BlobStore; records: RecordStore }): ContentLookup {
  return async (of, digest) => {
    const blob = parseBlobRecord(await records.read({ kind: 'blob', of, digest }));
    const record = blob ?? parseManifestRecord(await records.read({ kind: 'manifest', of, digest }));
    if (!record) return 'never-pulled';
    const stored = await store.open(digest, record.size);
    if (!stored) return 'lost';
    await stored[Symbol.asyncDispose]();
    return 'stored';
  };
}
