import type { Digest } from '../../oci/digest.ts';
import type { Tag } from '../../oci/reference.ts';
import type { RecordKey, RecordStore } from '../ports/record-store.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { Index } from '../ports/store-index.ts';
import type { TagRecords } from '../tags/tag-records.ts';

/** A tag or a link of a repository that only the disk has. */
export type UnindexedRecord =
  | { readonly kind: 'tag'; readonly tag: Tag; readonly digest: Digest }
  | { readonly kind: 'manifest' | 'blob'; readonly digest: Digest };

export interface UnindexedRecordsOptions {
  readonly repositoryId: RepositoryId;
  /** What the index has of the repository. */
  readonly known: { readonly tags: readonly Tag[]; readonly links: readonly Digest[] };
  /** Other tags and links are not read. */
  readonly isWanted: (key: RecordKey) => boolean;
  readonly records: Pick<RecordStore, 'listOf'>;
  readonly tagRecords: Pick<TagRecords, 'get'>;
}

/**
 * The tags and links of a repository on the disk that the index does not name: an earlier process forgot them, and the disk did not remove their
 * records. They are served all the same. @throws the disk's error.
 */
export async function* unindexedRecords({
  repositoryId,
  known,
  isWanted,
  records,
  tagRecords,
}: UnindexedRecordsOptions): AsyncIterable<UnindexedRecord> {
  const [tags, links] = [new Set<string>(known.tags), new Set(known.links)];
  for await (const key of records.listOf(repositoryId)) {
    if (!isWanted(key)) continue;
    if ((key.kind === 'manifest' || key.kind === 'blob') && !links.has(key.digest)) {
      yield { kind: key.kind, digest: key.digest };
    } else if (key.kind === 'tag' && !tags.has(key.tag)) {
      const record = await tagRecords.get(repositoryId, key.tag); // None of a tag whose record is about to be removed.
      if (record) yield { kind: 'tag', tag: key.tag, digest: record.digest };
    }
  }
}

/** Tells the index of them, so that they are removed with what it had. */
export function indexThem(
  found: readonly UnindexedRecord[],
  {
    repositoryId,
    index,
  }: { readonly repositoryId: RepositoryId; readonly index: Pick<Index, 'recordLink' | 'recordTag'> },
): void {
  for (const one of found) {
    if (one.kind === 'tag') index.recordTag(repositoryId, one.tag, one.digest);
    else index.recordLink({ ...one, repositoryId, mediaType: undefined, size: undefined });
  }
}
