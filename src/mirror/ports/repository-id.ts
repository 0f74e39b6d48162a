import type { Repository } from '../../oci/reference.ts';

/** A repository of one upstream. Links, tags and other records are kept for each of these. */
export interface RepositoryId {
  /** The registry's name as clients write it, such as `docker.io`. */
  readonly upstream: string;
  readonly repository: Repository;
}
