import type { Digest } from '../../oci/digest.ts';
import { OciError } from '../../oci/errors.ts';
import type { BlobSource } from '../ports/blob-source.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { ByteRange, OpenedBlob } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';

/** A blob that is not stored here, at the sources that may have it. */
export interface RemoteBlob {
  /**
   * Opens the blob from `position` up to and including `end`; without `end`, to its end. A source that ignores ranges sends the whole.
   * @throws what the last source throws; OciError BLOB_UNKNOWN if no source has the blob.
   */
  open(position: number, end: number | undefined, waiting: Waiting): Promise<OpenedBlob>;
  /**
   * To be called when an answer broke off, or does not fit. Its source is not asked again, unless it is the last one.
   * @returns whether another source is asked next.
   */
  skipSource(opened: OpenedBlob | undefined): boolean;
  /** To be called when the bytes that came are not those that the digest names. */
  failedVerification(): void;
}

export interface SourcedBlobOptions {
  readonly repositoryId: RepositoryId;
  readonly digest: Digest;
  /** In the order in which they are asked. */
  readonly sources: readonly BlobSource[];
}

/** One blob at an ordered list of sources. A source that does not have it, or fails, is left for the next one; the last one is never left. */
export class SourcedBlob implements RemoteBlob {
  readonly #options: SourcedBlobOptions;
  /** Those that may be asked, in order. */
  #sources: readonly BlobSource[];
  readonly #sourceOf = new WeakMap<OpenedBlob, BlobSource>();
  /** Those that have sent something. */
  readonly #used = new Set<BlobSource>();

  constructor(options: SourcedBlobOptions) {
    this.#options = options;
    this.#sources = options.sources;
  }

  async open(position: number, end: number | undefined, { signal }: Waiting): Promise<OpenedBlob> {
    const range = position === 0 && end === undefined ? {} : { range: { start: position, end } };
    for (const source of this.#sources) {
      const opened = await this.#openAt(source, { signal, ...range });
      if (opened) return opened;
      this.#skip(source);
    }
    throw new OciError('BLOB_UNKNOWN', 'no source has the blob');
  }

  skipSource(opened: OpenedBlob | undefined): boolean {
    const source = opened && this.#sourceOf.get(opened);
    if (!source) return false;
    this.#skip(source);
    return !this.#sources.includes(source);
  }

  failedVerification(): void {
    for (const source of this.#used) source.failedVerification(this.#options.digest);
  }

  /** @returns undefined if the next source is to be asked. @throws as the last source does. */
  async #openAt(
    source: BlobSource,
    options: Waiting & { readonly range?: ByteRange },
  ): Promise<OpenedBlob | undefined> {
    const { repositoryId, digest } = this.#options;
    try {
      const opened = await source.open(repositoryId, digest, options);
      if (!opened) return undefined;
      this.#used.add(source);
      this.#sourceOf.set(opened, source);
      return opened;
    } catch (cause) {
      if (options.signal.aborted || source === this.#sources.at(-1)) throw cause;
      return undefined;
    }
  }

  #skip(source: BlobSource): void {
    if (this.#sources.length > 1) this.#sources = this.#sources.filter((other) => other !== source);
  }
}
