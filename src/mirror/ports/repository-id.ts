import { parseRepository, type Repository } from '../../oci/reference.ts';
import type { Digest } from '../../oci/digest.ts';

/** A repository of one upstream. Links, tags and other records belong to one of these. */
export interface RepositoryId {
  /** The registry's name as clients write it, such as `docker.io`. */
  readonly upstream: string;
  readonly repository: Repository;
}

export function isSameRepository(a: RepositoryId, b: RepositoryId): boolean {
  return a.upstream === b.upstream && a.repository === b.repository;
}

/** A repository as text, such as `docker.io/library/alpine`: in messages, in the index and as the key of maps. */
export function repositoryKey({ upstream, repository }: RepositoryId): string {
  return `${upstream}/${repository}`;
}

/** Content of a repository as text, as the key of maps. */
export function contentKey(repositoryId: RepositoryId, digest: Digest): string {
  return `${repositoryKey(repositoryId)}@${digest}`;
}

/** The opposite of {@link repositoryKey}: the name of an upstream has no `/`. @throws OciError NAME_INVALID */
export function repositoryNamed(name: string): RepositoryId {
  const at = name.indexOf('/');
  return { upstream: name.slice(0, at), repository: parseRepository(name.slice(at + 1)) };
}
