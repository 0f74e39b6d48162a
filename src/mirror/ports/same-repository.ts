import type { Digest } from '../../oci/digest.ts';
import type { RepositoryId } from './repository-id.ts';

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
