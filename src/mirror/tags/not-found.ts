import { OciError } from '../../oci/errors.ts';
import type { RepositoryId } from '../ports/repository-id.ts';

/**
 * Anonymous callers may not read the repository, or it does not exist: the message is the same for both. Unlike the upstream's own "not
 * found" it says nothing about the repository's content: no cached content is forgotten because of it, and no stale content is served.
 */
export class RepositoryHidden extends OciError {
  constructor({ upstream }: Pick<RepositoryId, 'upstream'>) {
    super('NAME_UNKNOWN', `${upstream} has no such repository`);
  }
}

/** An upstream's answer that it does not have what it was asked for. */
export type NotFound = OciError & { readonly status: 404 };

export function isNotFound(cause: unknown): cause is NotFound {
  return cause instanceof OciError && cause.status === 404 && !(cause instanceof RepositoryHidden);
}
