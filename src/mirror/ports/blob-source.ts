import type { Digest } from '../../oci/digest.ts';
import type { RepositoryId } from './repository-id.ts';
import type { ByteRange, OpenedBlob } from './upstream.ts';
import type { Waiting } from './waiting.ts';

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
