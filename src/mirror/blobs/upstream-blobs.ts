import { OciError } from '../../oci/errors.ts';
import { Remembered, RememberedNotFound } from '../concurrency/remembered.ts';
import type { Manifests } from '../manifests/manifests.ts';
import type { Digest } from '../../oci/digest.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { FreshnessPolicies } from '../tags/freshness.ts';
import type { BlobSource, ContentQuestion, SharedWork, UpstreamBlobSource } from '../ports/shared-work.ts';
import { type BlobOrigin, type ByteRange, isNotFound, type OpenedBlob } from '../ports/upstream.ts';
import type { RemoteBlob } from '../transfers/remote-blob.ts';
import { type BlobQuestion, blobName } from './served-blob.ts';

export interface UpstreamBlobsDeps {
  readonly clock: Clock;
  readonly policies: FreshnessPolicies;
  readonly shared: Pick<SharedWork, 'blobSources'>;
  readonly observer: Pick<Observer, 'blobBytes'>;
  readonly manifests: { readonly promisedSizes: Pick<Manifests['promisedSizes'], 'get'> };
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

  /** The blob at its sources, the last of which is the upstream. */
  remote(question: BlobQuestion): RemoteBlob {
    const { repositoryId, digest, upstream } = question;
    const { shared, observer, manifests } = this.#deps;
    const source = this.#source(question);
    return new SourcedBlob({
      repositoryId,
      digest,
      sources: shared.blobSources?.({ repositoryId, digest }, source) ?? [source],
      promisedSize: manifests.promisedSizes.get(blobName(question)),
      onBytes: (origin, bytes) => observer.blobBytes({ upstream: upstream.label, source: origin, bytes }),
    });
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
  throwIfMissing(question: ContentQuestion): void {
    const missing = this.#missing.get(blobName(question));
    if (missing) throw new RememberedNotFound(missing);
  }

  #source(question: BlobQuestion): UpstreamBlobSource {
    const { upstream } = question;
    return {
      confirm: (repositoryId, digest, waiting) => this.confirm({ ...question, repositoryId, digest }, waiting),
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
