import type { Digest } from '../../oci/digest.ts';
import type { DiskUse } from '../eviction/disk-use.ts';
import type { Tag } from '../../oci/reference.ts';
import type { RepositoryId } from './repository-id.ts';

/** Names one record of the store. */
export type RecordKey =
  | { readonly kind: 'tag'; readonly of: RepositoryId; readonly tag: Tag }
  | { readonly kind: 'manifest' | 'blob' | 'referrers'; readonly of: RepositoryId; readonly digest: Digest }
  | { readonly kind: 'tag-list' | 'visibility'; readonly of: RepositoryId };

/** Small JSON documents that must survive. Each appears whole or not at all. */
export interface RecordStore {
  /** @returns undefined when it was never written, or can't be parsed. */
  read(key: RecordKey): Promise<unknown>;
  write(key: RecordKey, value: object): Promise<void>;
  remove(key: RecordKey): Promise<void>;
  /** Every record, in no order. After one full iteration {@link use} counts all of them. */
  list(): AsyncIterable<RecordKey>;
  /** The disk use that is known: of the records' folders, and of the records that no index counts (neither links nor tags). */
  use(): DiskUse;
}
