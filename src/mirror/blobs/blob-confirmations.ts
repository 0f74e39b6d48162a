import { UpstreamError } from '../../oci/errors.ts';
import { type Shared, SingleFlight } from '../concurrency/single-flight.ts';
import { ifAnswered } from '../ports/other-caches.ts';
import type { BlobRecord } from '../ports/record-store.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { BlobConfirmationsDeps } from './blobs-deps.ts';
import { type BlobQuestion, blobName, unlessUnreadable } from './served-blob.ts';
import type { ClaimedSize } from './upstream-blobs.ts';

/** Asks an upstream whether a repository has a blob, without downloading it. Clients that ask at the same time share one request. */
export class BlobConfirmations {
  readonly #deps: BlobConfirmationsDeps;
  readonly #confirmations: SingleFlight<BlobRecord>;
  readonly #heads: SingleFlight<BlobRecord>;

  constructor(deps: BlobConfirmationsDeps) {
    this.#deps = deps;
    this.#confirmations = new SingleFlight(deps);
    this.#heads = new SingleFlight(deps);
  }

  /** Asks the upstream once whether the repository has a blob that another repository brought, and records the answer. */
  async confirm(question: BlobQuestion, waiting: Waiting): Promise<BlobRecord> {
    const { upstreamBlobs } = this.#deps;
    upstreamBlobs.throwIfMissing(question);
    const ask = async (flight: Waiting) =>
      this.#confirmed(question, await this.#claim(question, flight, () => upstreamBlobs.confirm(question, flight)));
    const look = (flight: Waiting) => this.#orAfterRebuild(question, flight, () => ask(flight));
    return (await this.#confirmations.run(blobName(question), look, waiting)).value;
  }

  /** Asks by a HEAD, once for all clients that ask at the same time. */
  async head(question: BlobQuestion, waiting: Waiting): Promise<Shared<BlobRecord>> {
    const { upstreamBlobs, clock } = this.#deps;
    const ask = async (flight: Waiting) => {
      const { size } = await this.#claim(question, flight, () => upstreamBlobs.head(question, flight));
      return { firstServedAtMs: clock.now(), ...(size !== undefined && { size }) };
    };
    const look = (flight: Waiting) => this.#orAfterRebuild(question, flight, () => ask(flight));
    return this.#heads.run(blobName(question), look, waiting);
  }

  async #confirmed({ repositoryId, digest }: BlobQuestion, claimed: ClaimedSize): Promise<BlobRecord> {
    const { links } = this.#deps;
    const stored = await this.#deps.storedBlobs.open(digest, undefined);
    const confirmed = links.confirm(repositoryId, digest);
    if (!stored || stored === 'unreadable') return confirmed;
    await stored[Symbol.asyncDispose]();
    // A wrong size from the registry must not put a good file into quarantine.
    const size = claimed.size === stored.size ? stored.size : undefined;
    links.recordShared(repositoryId, digest, size);
    return { ...confirmed, ...(size !== undefined && { size }) };
  }

  /** Asks the upstream and, if it gives no answer, another cache, of which no more than one byte is asked for. */
  async #claim(
    { repositoryId, digest }: BlobQuestion,
    waiting: Waiting,
    ask: () => Promise<ClaimedSize>,
  ): Promise<ClaimedSize> {
    try {
      return await ask();
    } catch (cause) {
      if (!(cause instanceof UpstreamError)) throw cause;
      const oneByte = { signal: waiting.signal, range: { start: 0, end: 0 } };
      const opened = await ifAnswered(() => this.#deps.caches.openBlob(repositoryId, digest, oneByte), waiting);
      if (!opened) throw cause;
      opened.body.destroy();
      return opened;
    }
  }

  /**
   * The link to a cached blob that the index may know of once it is rebuilt, after the upstream did not answer. Whoever waits for that counts as
   * waiting for the upstream; a request that was refused because too many do does not.
   * @throws the cause if it is an answer of the upstream, or there is no such link; TooManyWaiters; the signal's reason.
   */
  async linkAfterRebuild(question: BlobQuestion, cause: unknown, waiting: Waiting): Promise<BlobRecord> {
    if (!(cause instanceof UpstreamError) || cause.reason === 'busy') throw cause;
    const { waiters } = this.#deps;
    return waiters.wait(question.upstream.label, () => this.#linkAfterRebuild(question, cause, waiting));
  }

  /** @throws the cause if there is no link to a cached blob; the signal's reason. */
  async #linkAfterRebuild(
    { repositoryId, digest }: BlobQuestion,
    cause: UpstreamError,
    waiting: Waiting,
  ): Promise<BlobRecord> {
    const { index, links, observer } = this.#deps;
    await index.whenComplete(waiting);
    const isCached = await unlessUnreadable(observer, 'index', () => index.hasContent(digest));
    // A download that has failed leaves a link in memory, and no content.
    const link = isCached && (await links.check(repositoryId, digest));
    if (!link) throw cause;
    return link;
  }

  async #orAfterRebuild(question: BlobQuestion, waiting: Waiting, ask: () => Promise<BlobRecord>): Promise<BlobRecord> {
    try {
      return await ask();
    } catch (cause) {
      if (!(cause instanceof UpstreamError)) throw cause;
      return this.#linkAfterRebuild(question, cause, waiting);
    }
  }
}
