import type { Digest } from '../../oci/digest.ts';
import type { Tag } from '../../oci/reference.ts';
import type { TagRecord, VisibilityRecord } from './record-store.ts';
import type { RepositoryId } from './repository-id.ts';
import type { ByteRange, FetchedManifest, OpenedBlob } from './upstream.ts';
import type { Waiting } from './waiting.ts';

/**
 * Another cache that may hold what this replica lacks: a sibling replica, or the shared bucket. It never asks an upstream, and answers for
 * the repository named only, by the same link check as for clients. Each method resolves with undefined if the content is not there.
 * @throws UpstreamError when the cache gives no usable answer; the signal's reason. Nothing is refused because of that: the next one is asked.
 */
export interface OtherCache {
  /** Opens a blob, or a range of it, stored there or being downloaded there. Nothing is verified yet. */
  openBlob(
    repositoryId: RepositoryId,
    digest: Digest,
    options: Waiting & { readonly range?: ByteRange },
  ): Promise<OpenedBlob | undefined>;
  /** A manifest whose bytes match its digest. */
  manifest(repositoryId: RepositoryId, digest: Digest, waiting: Waiting): Promise<FetchedManifest | undefined>;
  /** A tag of any age. `confirmedAtMs` is by this replica's clock. */
  tag(repositoryId: RepositoryId, tag: Tag, waiting: Waiting): Promise<TagRecord | undefined>;
  /** The verdict on a repository, of any age. `askedAtMs` is by this replica's clock. */
  visibility(repositoryId: RepositoryId, waiting: Waiting): Promise<VisibilityRecord | undefined>;
}

/** The other caches as one, asked for what is not a blob. Blobs are read through `SharedWork`. */
export type LookUpCaches = Pick<OtherCache, 'manifest' | 'tag' | 'visibility'>;

/** Where there is no other cache. */
export const noOtherCaches: LookUpCaches = {
  manifest: () => Promise.resolve(undefined),
  tag: () => Promise.resolve(undefined),
  visibility: () => Promise.resolve(undefined),
};
