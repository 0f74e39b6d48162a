import type { Repository } from '../../oci/reference.ts';

/** A repository of one upstream: everything the mirror remembers is remembered under one of these. */
export interface RepositoryId {
  /** The registry's name as clients write it, such as `docker.io`. */
  readonly upstream: string;
  readonly repository: Repository;
}
