import type { Digest } from '../../oci/digest.ts';
import { UpstreamError } from '../../oci/errors.ts';
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

/** Where clients may read blobs by themselves, so that the bytes do not pass through this replica. */
export interface BlobRedirects {
  readonly isOn: boolean;
  /**
   * A URL of the blob, which works for some minutes, for a repository that every client may read now.
   * @returns undefined if the blob is not there, or the repository is not linked to it. @throws as {@link OtherCache}.
   */
  urlFor(repositoryId: RepositoryId, digest: Digest, waiting: Waiting): Promise<string | undefined>;
}

/** Clients get all blobs from this replica. */
export const noRedirects: BlobRedirects = { isOn: false, urlFor: () => Promise.resolve(undefined) };

/** Asks another cache. @returns undefined also when it gives no usable answer. @throws the signal's reason. */
export async function ifAnswered<Value>(
  ask: () => Promise<Value | undefined>,
  { signal }: Waiting,
): Promise<Value | undefined> {
  try {
    return await ask();
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof UpstreamError) return undefined;
    throw cause;
  }
}

/** Where there is no other cache. */
export const noOtherCaches: OtherCache = {
  openBlob: () => Promise.resolve(undefined),
  manifest: () => Promise.resolve(undefined),
  tag: () => Promise.resolve(undefined),
  visibility: () => Promise.resolve(undefined),
};
