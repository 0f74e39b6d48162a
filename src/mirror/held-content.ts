import type { Digest } from '../oci/digest.ts';
import type { HostName, Repository, Tag } from '../oci/reference.ts';
import type { Access } from './access/access.ts';
import type { Visibility } from './access/visibility.ts';
import type { HeldBlobs, HeldOptions } from './blobs/held-blobs.ts';
import type { ServedBlob } from './blobs/served-blob.ts';
import type { CachedManifest, Manifests } from './manifests/manifests.ts';
import type { TagRecord, VisibilityRecord } from './ports/record-store.ts';
import type { RepositoryId } from './ports/repository-id.ts';
import type { UpstreamDirectory } from './ports/upstream.ts';
import type { TagRecords } from './tags/tag-records.ts';

export interface HeldContentDeps {
  readonly upstreams: Pick<UpstreamDirectory, 'find'>;
  readonly access: Pick<Access, 'admits' | 'mayBeListed'>;
  readonly visibility: Pick<Visibility, 'lastVerdict'>;
  readonly blobs: Pick<HeldBlobs, 'open'>;
  readonly manifests: Pick<Manifests, 'cached' | 'joinFetch'>;
  readonly tagRecords: Pick<TagRecords, 'get'>;
}

/** A repository as a sibling names it. */
export interface NamedRepository {
  readonly upstream: HostName;
  readonly repository: Repository;
}

/**
 * The verbs for siblings: what this replica has, is fetching or is relaying. Nothing here ever asks an upstream, so that replicas that ask
 * each other never form a loop. The same rules and the same link check hold as for clients. A repository that is hidden, or was never
 * confirmed to be public, has nothing but its verdict: that is decided before any content is looked for.
 *
 * Each verb resolves with undefined for what is not here.
 * @throws the signal's reason.
 */
export class HeldContent {
  readonly #deps: HeldContentDeps;

  constructor(deps: HeldContentDeps) {
    this.#deps = deps;
  }

  /** A blob that is stored, being downloaded or relayed. Waits for a download that has not begun. The source must be disposed. */
  async blob(named: NamedRepository, digest: Digest, options: HeldOptions): Promise<ServedBlob | undefined> {
    const repositoryId = await this.#readable(named);
    return repositoryId && this.#deps.blobs.open({ repositoryId, digest }, options);
  }

  /** A manifest that is cached or being fetched. */
  async manifest(
    named: NamedRepository,
    digest: Digest,
    { signal, atOnce }: HeldOptions,
  ): Promise<CachedManifest | undefined> {
    const repositoryId = await this.#readable(named);
    if (!repositoryId) return undefined;
    const { manifests } = this.#deps;
    const cached = await manifests.cached(repositoryId, digest, { signal });
    if (cached || atOnce) return cached;
    return manifests.joinFetch(repositoryId, digest, { signal }).catch(() => {
      signal.throwIfAborted();
      return undefined;
    });
  }

  /** A tag of any age. */
  async tag(named: NamedRepository, tag: Tag): Promise<TagRecord | undefined> {
    const repositoryId = await this.#readable(named);
    return repositoryId && this.#deps.tagRecords.get(repositoryId, tag);
  }

  /** The last verdict on a repository, of any age. */
  async visibility(named: NamedRepository): Promise<VisibilityRecord | undefined> {
    const { access, visibility } = this.#deps;
    const located = this.#locate(named);
    if (!located || !access.admits(located.repositoryId, located.label)) return undefined;
    return visibility.lastVerdict(located.repositoryId);
  }

  /** @returns undefined if siblings may read nothing of it. */
  async #readable(named: NamedRepository): Promise<RepositoryId | undefined> {
    const located = this.#locate(named);
    if (!located) return undefined;
    const { repositoryId, label } = located;
    return (await this.#deps.access.mayBeListed(repositoryId, label)) ? repositoryId : undefined;
  }

  #locate({ upstream: name, repository }: NamedRepository) {
    const upstream = this.#deps.upstreams.find(name);
    return upstream && { repositoryId: { upstream: upstream.name, repository }, label: upstream.label };
  }
}
