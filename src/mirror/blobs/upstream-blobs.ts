import { OciError } from '../../oci/errors.ts';
import { Remembered, RememberedNotFound } from '../concurrency/remembered.ts';
import type { Manifests } from '../manifests/manifests.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { FreshnessPolicies } from '../tags/freshness.ts';
import type { ContentQuestion, SharedWork, UpstreamBlobSource } from '../ports/shared-work.ts';
import { isNotFound } from '../ports/upstream.ts';
import type { RemoteBlob } from '../transfers/remote-blob.ts';
import { type BlobQuestion, blobName } from './served-blob.ts';
import { SourcedBlob } from './sourced-blob.ts';

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
    return new SourcedBlob({
      repositoryId,
      digest,
      sources: shared.blobSources({ repositoryId, digest }, this.#source(question)),
      promisedSize: manifests.promisedSizes.get(blobName(question)),
      onBytes: (source, bytes) => observer.blobBytes({ upstream: upstream.label, source, bytes }),
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
