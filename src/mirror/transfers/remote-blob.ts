import type { OpenedBlob } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';

/** A blob that is not stored here, at the sources that may have it. */
export interface RemoteBlob {
  /**
   * Opens the blob from `position` up to and including `end`; without `end`, to its end. A source that ignores ranges sends the whole.
   * @throws what the last source throws; OciError BLOB_UNKNOWN if no source has the blob.
   */
  open(position: number, end: number | undefined, waiting: Waiting): Promise<OpenedBlob>;
  /**
   * To be called when an answer broke off, or does not fit. Its source is not asked again, unless it is the last one or says that it may be.
   * @returns whether the blob may be asked for again at once: of another source, or of another place that the same source knows.
   */
  skipSource(opened: OpenedBlob | undefined): boolean;
  /** To be called when bytes of an answer have arrived, to count them. */
  received(opened: OpenedBlob, bytes: number): void;
  /** To be called when the bytes that came are not those that the digest names. */
  failedVerification(): void;
}
