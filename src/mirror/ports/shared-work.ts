import type { Digest } from '../../oci/digest.ts';
import type { Tag } from '../../oci/reference.ts';
import type { TagRecord } from './record-store.ts';
import type { RepositoryId } from './repository-id.ts';
import type { ByteRange, FetchedManifest, OpenedBlob } from './upstream.ts';
import type { Waiting } from './waiting.ts';

/** Content of a repository. */
export interface ContentQuestion {
  readonly repositoryId: RepositoryId;
  readonly digest: Digest;
}

/** Somewhere a blob is downloaded from, such as its upstream. A download asks its sources in order. */
export interface BlobSource {
  /**
   * Opens a blob, or a range of it. Resolves as soon as the headers are there; nothing is verified yet. A range may be answered with the
   * whole blob: see {@link OpenedBlob.offset}.
   * @returns undefined if the source does not have the blob. It must answer that quickly: the next source is asked then.
   * @throws OciError if it refuses; UpstreamError if no usable answer came. The last source's error is what the client gets.
   */
  open(
    repositoryId: RepositoryId,
    digest: Digest,
    options: Waiting & { readonly range?: ByteRange },
  ): Promise<OpenedBlob | undefined>;
  /**
   * To be called when an answer of this source broke off, or does not fit what is known of the blob.
   * @returns whether the source may have the blob elsewhere, and is asked again before the next one. Absent: it is left.
   */
  brokeOff?(opened: OpenedBlob): 'ask-again' | 'leave';
  /** To be called when bytes that came from this source, alone or among others, are not those that the digest names. */
  failedVerification(digest: Digest): void;
}

/** A blob at its upstream. */
export interface UpstreamBlobSource extends BlobSource {
  /** Asks whether the upstream has the blob in this repository, for bytes that come from elsewhere. @throws OciError BLOB_UNKNOWN; UpstreamError */
  confirm(repositoryId: RepositoryId, digest: Digest, waiting: Waiting): Promise<unknown>;
}

/** The claim of one tag: no other replica looks it up until it is disposed, or expires. */
export interface TagClaim extends Disposable {
  /** Tells the other replicas what the upstream answered. It holds for `freshForMs`, which may be Infinity. Never throws. */
  answered(record: TagRecord, freshForMs: number): void;
}

/** What another replica has just learnt from the upstream, or that this replica should ask. */
export type TagTurn =
  | { readonly kind: 'answered'; readonly record: TagRecord }
  | { readonly kind: 'ask'; readonly claim: TagClaim };

/**
 * Work that the replicas of a cluster share, so that an upstream is asked once for all of them. Where replicas share nothing, or cannot
 * reach each other, each does its own work: nothing fails because of that. What is absent is not shared; one process alone shares nothing.
 */
export interface SharedWork {
  /** The sources of a blob, in the order in which they are asked, for one download. The last one is the upstream. */
  blobSources?(question: ContentQuestion, upstream: UpstreamBlobSource): readonly BlobSource[];
  /**
   * A manifest by digest, from another cache, or by `fromUpstream`, which no other replica then runs at the same time.
   * @throws what `fromUpstream` throws, if no other cache has it; the signal's reason.
   */
  manifest?(
    question: ContentQuestion,
    fromUpstream: (waiting: Waiting) => Promise<FetchedManifest>,
    waiting: Waiting,
  ): Promise<FetchedManifest>;
  /** Waits while another replica looks up the tag, a few seconds at most. @throws the signal's reason. */
  tagTurn?(repositoryId: RepositoryId, tag: Tag, waiting: Waiting): Promise<TagTurn>;
  /**
   * To be called when content can be read here: a manifest in memory that is not stored yet, or content that was just served. It may be called
   * for every pull. Never throws.
   */
  readable?(question: ContentQuestion): void;
  /** To be called when content is stored: other replicas may read it here. Never throws. */
  stored?(question: ContentQuestion): void;
  /** To be called when content is evicted. Never throws. */
  removed?(digest: Digest): void;
}
