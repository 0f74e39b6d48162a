import { boundedMap } from '../mirror/concurrency/remembered.ts';
import { ifAnswered, type OtherCache } from '../mirror/ports/other-caches.ts';
import { contentKey, isSameRepository, type RepositoryId, repositoryKey } from '../mirror/ports/repository-id.ts';
import type {
  BlobSource,
  ContentQuestion,
  SharedWork,
  TagTurn,
  UpstreamBlobSource,
} from '../mirror/ports/shared-work.ts';
import type { FetchedManifest } from '../mirror/ports/upstream.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';
import type { Digest } from '../oci/digest.ts';
import type { Tag } from '../oci/reference.ts';
import type { AnyCache } from './any-cache.ts';
import { HolderSearch, type HolderSearchDeps } from './holder-search.ts';
import type { Leases } from './leases.ts';
import { SharedBlob, WrongBytes } from './shared-blob.ts';
import type { TagHints } from './tag-hints.ts';

/** The bucket, as the replicas of a cluster use it. */
export interface SharedBucket {
  readonly source: BlobSource;
  readonly cache: Pick<OtherCache, 'manifest'>;
  /** Content that this replica brought from an upstream is stored here: it is to be uploaded. */
  stored(question: ContentQuestion): void;
}

export interface ClusterWorkDeps extends HolderSearchDeps {
  readonly leases: Pick<Leases, 'claim' | 'forget' | 'stored' | 'removed'>;
  readonly tagHints: Pick<TagHints, 'turn'>;
  readonly anyCache: Pick<AnyCache, 'openAtSibling'>;
  readonly bucket: SharedBucket | undefined;
}

/** For how much content it is remembered that this replica was named as a holder, and for how many repositories each. */
const maxNamed = 50_000;
const maxRepositories = 16;
/** Holders are named for a day. */
const nameAgainAfterMs = 12 * 3_600_000;
/** How much content is remembered as having come from another replica or the bucket. */
const maxFromElsewhere = 10_000;

/** The work that the replicas of a cluster share. Without Redis, or without answers of the siblings, each replica works for itself. */
export class ClusterWork implements SharedWork {
  readonly #deps: ClusterWorkDeps;
  readonly #wrongBytes = new WrongBytes();
  /** When this replica was last named as a holder of a digest, by the repository. By the monotonic clock. */
  readonly #named = boundedMap<Digest, ReadonlyMap<string, number>>(maxNamed);
  readonly #fromElsewhere = boundedMap<string, true>(maxFromElsewhere);

  constructor(deps: ClusterWorkDeps) {
    this.#deps = deps;
  }

  blobSources(question: ContentQuestion, upstream: UpstreamBlobSource): readonly BlobSource[] {
    const onOrigin = (of: ContentQuestion, origin: 'elsewhere' | 'upstream') => this.#noteOrigin(of, origin);
    const deps = { ...this.#deps, bucket: this.#deps.bucket?.source, wrongBytes: this.#wrongBytes, onOrigin };
    return new SharedBlob(question, upstream, deps).sources;
  }

  async manifest(
    question: ContentQuestion,
    fromUpstream: (waiting: Waiting) => Promise<FetchedManifest>,
    waiting: Waiting,
  ): Promise<FetchedManifest> {
    const { repositoryId, digest } = question;
    const search = new HolderSearch(question, [], this.#deps);
    const atHolder = await search.ask(
      // What a replica fetches for another repository is not for this one.
      async (holder) =>
        isSameRepository(holder.repositoryId, repositoryId)
          ? holder.cache.manifest(repositoryId, digest, waiting)
          : 'alone',
      waiting,
    );
    if (atHolder) return this.#manifestFrom('elsewhere', question, atHolder);
    using _lease = search.use();
    const inBucket = await ifAnswered(
      async () => this.#deps.bucket?.cache.manifest(repositoryId, digest, waiting),
      waiting,
    );
    if (inBucket) return this.#manifestFrom('elsewhere', question, inBucket);
    return this.#manifestFrom('upstream', question, await fromUpstream(waiting));
  }

  tagTurn(repositoryId: RepositoryId, tag: Tag, waiting: Waiting): Promise<TagTurn> {
    return this.#deps.tagHints.turn(repositoryId, tag, waiting);
  }

  readable(question: ContentQuestion): void {
    const { clock } = this.#deps;
    const named = this.#named.get(question.digest)?.get(repositoryKey(question.repositoryId));
    if (named === undefined || clock.monotonicMs() - named >= nameAgainAfterMs) this.#name(question);
  }

  stored(question: ContentQuestion): void {
    const { bucket } = this.#deps;
    this.#name(question);
    if (!this.#fromElsewhere.has(contentKey(question.repositoryId, question.digest))) bucket?.stored(question);
  }

  removed(digest: Digest): void {
    this.#named.delete(digest);
    this.#deps.leases.removed(digest);
  }

  /** To be called when Redis answers again: it may have forgotten who has what. */
  forgetNames(): void {
    this.#named.clear();
  }

  /** Names this replica in Redis as one that has the content. */
  #name(question: ContentQuestion): void {
    const { leases, clock } = this.#deps;
    const { digest, repositoryId } = question;
    const named = [...(this.#named.get(digest) ?? []), [repositoryKey(repositoryId), clock.monotonicMs()] as const];
    this.#named.set(digest, new Map(named.slice(-maxRepositories)));
    leases.stored(question);
  }

  #manifestFrom(
    origin: 'elsewhere' | 'upstream',
    question: ContentQuestion,
    manifest: FetchedManifest,
  ): FetchedManifest {
    this.#noteOrigin(question, origin);
    return manifest;
  }

  /** Only the replica that brings content from the upstream uploads it. */
  #noteOrigin({ repositoryId, digest }: ContentQuestion, origin: 'elsewhere' | 'upstream'): void {
    const key = contentKey(repositoryId, digest);
    if (origin === 'elsewhere') this.#fromElsewhere.set(key, true);
    else this.#fromElsewhere.delete(key);
  }
}
