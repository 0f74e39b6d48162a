import type { RecordKey } from '../mirror/ports/record-store.ts';
import type { RepositoryId } from '../mirror/ports/repository-id.ts';
import { parseRepository } from '../oci/reference.ts';

/** `docker.io/library/alpine`: how an index knows a repository. */
export function fullName({ upstream, repository }: RepositoryId): string {
  return `${upstream}/${repository}`;
}

/** The repository behind a full name: no upstream has a `/` in its name. @throws OciError NAME_INVALID */
export function repositoryNamed(name: string): RepositoryId {
  const at = name.indexOf('/');
  return { upstream: name.slice(0, at), repository: parseRepository(name.slice(at + 1)) };
}

/** `tag docker.io/library/alpine 3.20`: one text for each record. */
export function recordName(key: RecordKey): string {
  const which = key.kind === 'tag' ? key.tag : 'digest' in key ? key.digest : '';
  return `${key.kind} ${fullName(key.of)} ${which}`;
}
