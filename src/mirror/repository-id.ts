import type { RepositoryId } from './ports/repository-id.ts';

export function isSameRepository(a: RepositoryId, b: RepositoryId): boolean {
  return a.upstream === b.upstream && a.repository === b.repository;
}
