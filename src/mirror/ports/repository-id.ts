import { parseRepository, type Repository } from '../../oci/reference.ts';
import type { Digest } from '../../oci/digest.ts';

/** A repository of one upstream. Links, tags and other records are kept for each of these. */
export interface RepositoryId {
  /** The registry's name as clients write it, such as `docker.io`. */
  readonly upstream: string;
  readonly repository: Repository;
}

export function isSameRepository(a: RepositoryId, b: RepositoryId): boolean {
  return a.upstream === b.upstream && a.repository === b.repository;
}

/** Names a repository in messages, and in the maps that hold something for each. */
export function repositoryKey({ upstream, repository }: RepositoryId): string {
  return `${upstream}/${repository}`;
}

/** Likewise, content in a repository. */
export function contentKey(of: RepositoryId, digest: Digest): string {
  return `${repositoryKey(of)}@${digest}`;
}

/** The repository behind a full name: no upstream has a `/` in its name. @throws OciError NAME_INVALID */
export function repositoryNamed(name: string): RepositoryId {
  const at = name.indexOf('/');
  return { upstream: name.slice(0, at), repository: parseRepository(name.slice(at + 1)) };
}
