import type { Digest } from '../../oci/digest.ts';
import { OciError } from '../../oci/errors.ts';
import { Remembered, RememberedNotFound } from '../concurrency/remembered.ts';
import type { BlobSource } from '../ports/blob-source.ts';
import type { Clock } from '../ports/clock.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { FreshnessPolicies } from '../tags/freshness.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import { type ByteRange, isNotFound, type OpenedBlob } from '../ports/upstream.ts';
import type { RemoteBlob } from '../transfers/remote-blob.ts';
import { type BlobQuestion, blobName } from './served-blob.ts';

export interface UpstreamBlobsDeps {
  readonly clock: Clock;
  readonly policies: FreshnessPolicies;
}

/** The size that an upstream claims, if it does. */
export interface ClaimedSize {
  readonly size: number | undefined;
}

const maxRemembered = 20_000;

/** Asks upstreams for blobs, and remembers for a while which blobs an upstream does not have. */
export class UpstreamBlobs {
  readonly #deps: UpstreamBlobsDeps;
  readonly #missing: Remembered<OciError>;

  constructor(deps: UpstreamBlobsDeps) {
    this.#deps = deps;
    this.#missing = new Remembered({ clock: deps.clock, max: maxRemembered });
  }

  /** The blob at its sources: the upstream is the only one. */
  remote(question: BlobQuestion): RemoteBlob {
    const { repositoryId, digest } = question;
    return new SourcedBlob({ repositoryId, digest, sources: [this.#source(question)] });
  }

  /** @throws OciError BLOB_UNKNOWN; UpstreamError */
  head(question: BlobQuestion, waiting: Waiting): Promise<ClaimedSize> {
    const { upstream, repositoryId, digest } = question;
    return this.#asking(question, () => upstream.headBlob(repositoryId.repository, digest, waiting));
  }

  /**
   * Asks whether the upstream has a blob whose bytes may be stored already, by the same request as for one that is not. A HEAD could need a
   * second request, and the time of two round trips would tell what other repositories hold. The body is not read.
   * @throws OciError BLOB_UNKNOWN; UpstreamError
   */
  async confirm(question: BlobQuestion, { signal }: Waiting): Promise<ClaimedSize> {
    const { upstream, repositoryId, digest } = question;
    const { size, body } = await this.#asking(question, () =>
      upstream.openBlob(repositoryId.repository, digest, { signal }),
    );
    body.destroy();
    return { size };
  }

  /** @throws RememberedNotFound if the upstream said a moment ago that it has no such blob. */
  throwIfMissing(question: BlobQuestion): void {
    const missing = this.#missing.get(blobName(question));
    if (missing) throw new RememberedNotFound(missing);
  }

  #source(question: BlobQuestion): BlobSource {
    const { upstream } = question;
    return {
      open: ({ repository }, digest, options) =>
        this.#asking(question, () => upstream.openBlob(repository, digest, options)),
      failedVerification: (digest) => upstream.failedVerification(digest),
    };
  }

  /** Turns every 404 into the same error: a HEAD, which has no body, and a GET must not differ, or they tell which of them was used. */
  async #asking<Value>(question: BlobQuestion, ask: () => Promise<Value>): Promise<Value> {
    try {
      return await ask();
    } catch (cause) {
      if (!isNotFound(cause)) throw cause;
      const unknown = new OciError('BLOB_UNKNOWN', 'the upstream has no such blob', { cause });
      const { missingMs } = this.#deps.policies.rulesOf(question.upstream.label);
      this.#missing.remember(blobName(question), unknown, missingMs);
      throw unknown;
    }
  }
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
