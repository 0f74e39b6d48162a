import { LRUCache } from 'lru-cache';
import { parseBlobRecord } from '../../mirror/ports/record-store.ts';
import { contentKey, type RepositoryId } from '../../mirror/ports/repository-id.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import type { Digest } from '../../oci/digest.ts';
import { type BucketRecords, carriedLinks } from './bucket-records.ts';

/** About 20 MB when it is full. */
const maxKnown = 100_000;

/**
 * Which repository may read which blob from the bucket. Each link is a record of its own. The record of a manifest also carries the links of its
 * repository to the blobs that the manifest names: who reads a manifest from the bucket knows the links before it asks for the blobs.
 *
 * Only records of the repository itself are read. So a call that is made, or not made, never tells what another repository holds.
 */
export class BucketLinks {
  readonly #records: Pick<BucketRecords, 'read'>;
  readonly #known = new LRUCache<string, true>({ max: maxKnown });

  constructor({ records }: { readonly records: Pick<BucketRecords, 'read'> }) {
    this.#records = records;
  }

  /** No call for a link that is known, else one. @throws as BucketRecords.read. */
  async has(repositoryId: RepositoryId, digest: Digest, waiting: Waiting): Promise<boolean> {
    if (this.#known.has(contentKey(repositoryId, digest))) return true;
    const record = parseBlobRecord(await this.#records.read({ kind: 'blob', repositoryId, digest }, waiting));
    if (record) this.add(repositoryId, digest);
    return record !== undefined;
  }

  isKnown(repositoryId: RepositoryId, digest: Digest): boolean {
    return this.#known.has(contentKey(repositoryId, digest));
  }

  /** The bucket has this link. */
  add(repositoryId: RepositoryId, digest: Digest): void {
    this.#known.set(contentKey(repositoryId, digest), true);
  }

  /** The bucket no longer has what the link leads to. */
  forget(repositoryId: RepositoryId, digest: Digest): void {
    this.#known.delete(contentKey(repositoryId, digest));
  }

  /** Adds the links that the record of a manifest carries. */
  addCarried(repositoryId: RepositoryId, manifestRecord: unknown): void {
    for (const digest of carriedLinks(manifestRecord)) this.add(repositoryId, digest);
  }
}
