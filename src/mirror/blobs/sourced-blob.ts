import type { Digest } from '../../oci/digest.ts';
import { OciError } from '../../oci/errors.ts';
import type { BlobSource } from '../ports/blob-source.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { BlobOrigin, ByteRange, OpenedBlob } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { RemoteBlob } from '../transfers/remote-blob.ts';

export interface SourcedBlobOptions {
  readonly repositoryId: RepositoryId;
  readonly digest: Digest;
  /** In the order in which they are asked. */
  readonly sources: readonly BlobSource[];
  /** The size by the descriptor that names the blob, if it is known. */
  readonly promisedSize?: number | undefined;
  /** Bytes came from a source. */
  readonly onBytes?: (origin: BlobOrigin, bytes: number) => void;
}

/** How often one download asks sources again that say that they may have the blob elsewhere. */
const maxAskedAgain = 32;

/**
 * One blob at an ordered list of sources. A source that does not have it, fails, or claims another size than was promised or claimed before is
 * left for the next one, unless it says that it may be asked again; the last one is never left.
 */
export class SourcedBlob implements RemoteBlob {
  readonly #options: SourcedBlobOptions;
  /** Those that may be asked, in order. */
  #sources: readonly BlobSource[];
  readonly #sourceOf = new WeakMap<OpenedBlob, BlobSource>();
  /** Those that have sent something. */
  readonly #used = new Set<BlobSource>();
  #size: number | undefined;
  #askedAgain = 0;

  constructor(options: SourcedBlobOptions) {
    this.#options = options;
    this.#sources = options.sources;
    this.#size = options.promisedSize;
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
    const mayAskAgain = this.#mayAskAgain(source, opened);
    if (this.#isLast(source)) return false;
    if (!mayAskAgain) this.#skip(source);
    return true;
  }

  received(opened: OpenedBlob, bytes: number): void {
    this.#options.onBytes?.(opened.origin ?? 'upstream', bytes);
  }

  failedVerification(): void {
    for (const source of this.#used) source.failedVerification(this.#options.digest);
  }

  /** @returns undefined if the next source is to be asked. @throws as the last source does. */
  async #openAt(
    source: BlobSource,
    options: Waiting & { readonly range?: ByteRange },
  ): Promise<OpenedBlob | undefined> {
    for (;;) {
      const opened = await this.#ask(source, options);
      if (!opened) return undefined;
      if (this.#isLast(source) || this.#fits(opened)) return this.#accept(source, opened);
      opened.body.destroy();
      if (!this.#mayAskAgain(source, opened)) return undefined;
    }
  }

  async #ask(source: BlobSource, options: Waiting & { readonly range?: ByteRange }): Promise<OpenedBlob | undefined> {
    const { repositoryId, digest } = this.#options;
    try {
      return await source.open(repositoryId, digest, options);
    } catch (cause) {
      if (options.signal.aborted || this.#isLast(source)) throw cause;
      return undefined;
    }
  }

  #accept(source: BlobSource, opened: OpenedBlob): OpenedBlob {
    this.#size ??= opened.size;
    this.#used.add(source);
    this.#sourceOf.set(opened, source);
    return opened;
  }

  #fits({ size }: OpenedBlob): boolean {
    return size === undefined || this.#size === undefined || size === this.#size;
  }

  #isLast(source: BlobSource): boolean {
    return source === this.#sources.at(-1);
  }

  #mayAskAgain(source: BlobSource, opened: OpenedBlob): boolean {
    if (source.brokeOff?.(opened) !== 'ask-again') return false;
    this.#askedAgain += 1;
    return this.#askedAgain <= maxAskedAgain;
  }

  #skip(source: BlobSource): void {
    if (this.#sources.length > 1) this.#sources = this.#sources.filter((other) => other !== source);
  }
}
