import { boundedMap } from '../mirror/concurrency/remembered.ts';
import { ifAnswered } from '../mirror/ports/other-caches.ts';
import type { BlobSource, ContentQuestion, UpstreamBlobSource } from '../mirror/ports/shared-work.ts';
import { isSameRepository, type RepositoryId } from '../mirror/ports/repository-id.ts';
import type { ByteRange, OpenedBlob } from '../mirror/ports/upstream.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';
import type { Digest } from '../oci/digest.ts';
import { OciError, UpstreamError } from '../oci/errors.ts';
import type { AnyCache } from './any-cache.ts';
import { type Holder, HolderSearch, type HolderSearchDeps } from './holder-search.ts';

export interface SharedBlobDeps extends HolderSearchDeps {
  readonly anyCache: Pick<AnyCache, 'openAtSibling'>;
  readonly bucket: BlobSource | undefined;
  readonly wrongBytes: WrongBytes;
  /** Told whether other replicas have been asked for the content in vain, so that this replica brings it. */
  readonly onOrigin: (question: ContentQuestion, origin: 'elsewhere' | 'upstream') => void;
}

type Opening = Waiting & { readonly range?: ByteRange };

/** How many digests are remembered of which replicas sent wrong bytes. */
const maxWrong = 1_000;

/** Which replicas sent bytes of a blob that did not match its digest, perhaps among others. They are not asked for it again. */
export class WrongBytes {
  readonly #byDigest = boundedMap<Digest, Set<string>>(maxWrong);

  of(digest: Digest): ReadonlySet<string> {
    return this.#byDigest.get(digest) ?? new Set();
  }

  add(digest: Digest, replicaIds: Iterable<string>): void {
    this.#byDigest.set(digest, new Set([...this.of(digest), ...replicaIds]));
  }
}

/**
 * The sources of one download: a sibling that has the blob or is downloading it, the bucket, the upstream. What comes from the bucket or the
 * upstream comes under the lease, so that the other replicas read it here. When the upstream gives no answer, any sibling is asked.
 */
export class SharedBlob {
  readonly #question: ContentQuestion;
  readonly #upstream: UpstreamBlobSource;
  readonly #deps: SharedBlobDeps;
  readonly #search: HolderSearch;
  /** The replica that an answer comes from. */
  readonly #senderOf = new WeakMap<OpenedBlob, string>();
  /** The replicas that have sent something. */
  readonly #senders = new Set<string>();
  #isConfirmed = false;

  constructor(question: ContentQuestion, upstream: UpstreamBlobSource, deps: SharedBlobDeps) {
    this.#question = question;
    this.#upstream = upstream;
    this.#deps = deps;
    this.#search = new HolderSearch(question, deps.wrongBytes.of(question.digest), deps);
  }

  get sources(): readonly BlobSource[] {
    const { bucket } = this.#deps;
    const brokeOff = (opened: OpenedBlob) => this.#brokeOff(opened);
    const failedVerification = (digest: Digest) => this.#deps.wrongBytes.add(digest, this.#senders);
    return [
      { open: (_, __, options) => this.#openAtHolder(options), brokeOff, failedVerification },
      ...(bucket ? [this.#bucketSource(bucket)] : []),
      {
        open: this.#underLease((repositoryId, digest, options) => this.#openUpstream(repositoryId, digest, options)),
        brokeOff,
        failedVerification: (digest) => {
          failedVerification(digest);
          this.#upstream.failedVerification(digest);
        },
      },
    ];
  }

  /** A part beside a download takes no lease: it would let others wait for a download that is not one. */
  async #openAtHolder(options: Opening): Promise<OpenedBlob | undefined> {
    if (options.range?.end !== undefined && !this.#search.hasBegun) return undefined;
    return this.#search.ask((holder) => this.#openAt(holder, options), options);
  }

  async #openAt(
    { replicaId, cache, repositoryId, isStored }: Holder,
    options: Opening,
  ): Promise<OpenedBlob | 'alone' | undefined> {
    const isOther = !isSameRepository(repositoryId, this.#question.repositoryId);
    if (isOther && !(await this.#confirm(options))) return 'alone';
    const opened = await cache.openBlob(repositoryId, this.#question.digest, { ...options, isStored });
    return opened && this.#sentBy(replicaId, { ...opened, origin: 'sibling', ...(!isOther && { via: 'sibling' }) });
  }

  /** Another repository's bytes are read only if the upstream has the blob in this repository too. If not, the upstream is asked as the last source: its error is the client's. */
  async #confirm(waiting: Waiting): Promise<boolean> {
    const { repositoryId, digest } = this.#question;
    if (this.#isConfirmed) return true;
    try {
      await this.#upstream.confirm(repositoryId, digest, waiting);
      this.#isConfirmed = true;
    } catch (cause) {
      waiting.signal.throwIfAborted();
      if (!(cause instanceof UpstreamError || cause instanceof OciError)) throw cause;
    }
    return this.#isConfirmed;
  }

  #bucketSource(bucket: BlobSource): BlobSource {
    const open = this.#underLease(async (repositoryId, digest, options) => {
      const opened = await bucket.open(repositoryId, digest, options);
      if (!opened) return undefined;
      this.#deps.onOrigin(this.#question, 'elsewhere');
      return { ...opened, origin: 'shared', via: 'shared' };
    });
    return { open, failedVerification: (digest) => bucket.failedVerification(digest) };
  }

  async #openUpstream(repositoryId: RepositoryId, digest: Digest, options: Opening): Promise<OpenedBlob | undefined> {
    try {
      const opened = await this.#upstream.open(repositoryId, digest, options);
      this.#deps.onOrigin(this.#question, 'upstream');
      return opened;
    } catch (cause) {
      if (options.signal.aborted || !(cause instanceof UpstreamError)) throw cause;
      const except = this.#search.failed;
      const find = () => this.#deps.anyCache.openAtSibling(repositoryId, digest, { ...options, except });
      const found = await ifAnswered(find, options);
      if (!found) throw cause;
      return this.#sentBy(found.replicaId, found.opened);
    }
  }

  /** Keeps the lease while the source is asked, and while its answer is read. */
  #underLease(open: BlobSource['open']): BlobSource['open'] {
    return async (repositoryId, digest, options) => {
      using stack = new DisposableStack();
      stack.use(this.#search.use());
      const opened = await open(repositoryId, digest, options);
      if (!opened || opened.body.closed) return opened;
      const read = stack.move();
      opened.body.once('close', () => read.dispose());
      return opened;
    };
  }

  #sentBy(replicaId: string, opened: OpenedBlob): OpenedBlob {
    this.#senderOf.set(opened, replicaId);
    this.#senders.add(replicaId);
    this.#deps.onOrigin(this.#question, 'elsewhere');
    return opened;
  }

  #brokeOff(opened: OpenedBlob): 'ask-again' {
    const replicaId = this.#senderOf.get(opened);
    if (replicaId !== undefined) this.#search.giveUp(replicaId);
    return 'ask-again';
  }
}
