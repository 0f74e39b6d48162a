import type { Evictions, StorageAdministration } from '../../http/management/api/store/storage-routes.ts';
import { isoOf, repositoryIn } from '../../http/management/api/schemas.ts';
import { Problem } from '../../http/management/problems.ts';
import type { AssembledMirror } from '../../mirror/mirror-parts.ts';
import { repositoryKey } from '../../mirror/ports/repository-id.ts';
import type { Catalogue, EvictableContent, Index } from '../../mirror/ports/store-index.ts';

export interface StorageDeps {
  readonly mirror: Pick<AssembledMirror, 'downloads'>;
  readonly index: Pick<Catalogue, 'details'> & Pick<Index, 'evictable' | 'knowsEvictable'>;
}

/** Names of one content that are told. */
const mostNames = 10;

/** Tells what happens in the store: what arrives, and what leaves next. */
export function createStorageAdministration({ mirror, index }: StorageDeps): StorageAdministration {
  return {
    downloads: () => ({
      items: mirror.downloads().map(({ repositoryId, digest, receivedBytes, size }) => ({
        ...repositoryIn(repositoryId),
        digest,
        receivedBytes,
        totalBytes: size ?? null,
      })),
    }),
    nextEvictions: async ({ limit }) => {
      if (!(await index.knowsEvictable())) return { isKnown: false, items: [] };
      const next = await index.evictable({ limit });
      return { isKnown: true, items: await Promise.all(next.map((content) => evictionOf(content, index))) };
    },
  };
}

async function evictionOf(
  { digest, diskBytes, isManifest, usedAtMs }: EvictableContent,
  index: StorageDeps['index'],
): Promise<Evictions['items'][number]> {
  const details = await index.details(digest);
  if (details === undefined) throw new Problem('unavailable', 'the index cannot be read now');
  const repositories = new Set(details.linkedBy.map(repositoryKey));
  return {
    digest,
    kind: isManifest ? 'manifest' : 'blob',
    bytes: diskBytes,
    usedAt: isoOf(usedAtMs),
    repositories: [...repositories].slice(0, mostNames),
    tags: details.tags.slice(0, mostNames).map(({ repositoryId, tag }) => `${repositoryKey(repositoryId)}:${tag}`),
  };
}
