import type { Digest } from '../../oci/digest.ts';
import { namedBy } from '../../oci/manifest.ts';
import type { ContentLookup } from '../manifests/content-lookup.ts';
import type { CachedManifest, Manifests } from '../manifests/manifests.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { TagRecord } from '../ports/record-store.ts';

export interface StaleImageDeps {
  readonly manifests: Pick<Manifests, 'cached'>;
  readonly lookup: ContentLookup;
}

/** The newest image that a tag has pointed to, of which everything that was once pulled is still stored. */
export async function newestComplete(
  repositoryId: RepositoryId,
  { digest, previous }: TagRecord,
  deps: StaleImageDeps,
): Promise<CachedManifest | undefined> {
  for (const candidate of previous ? [digest, previous] : [digest]) {
    const manifest = await deps.manifests.cached(repositoryId, candidate);
    if (manifest && (await isComplete(repositoryId, manifest, deps))) return manifest;
  }
  return undefined;
}

/** Walks the image without recursion: an index may name further indexes, to any depth. */
async function isComplete(
  repositoryId: RepositoryId,
  root: CachedManifest,
  { manifests, lookup }: StaleImageDeps,
): Promise<boolean> {
  const seen = new Set<Digest>();
  const waiting = namedBy(root.bytes).map(({ digest }) => digest);
  for (let digest = waiting.pop(); digest !== undefined; digest = waiting.pop()) {
    if (seen.has(digest)) continue;
    seen.add(digest);
    const presence = await lookup(repositoryId, digest);
    if (presence === 'lost') return false;
    const child = presence === 'stored' ? await manifests.cached(repositoryId, digest) : undefined;
    if (child) waiting.push(...namedBy(child.bytes).map((named) => named.digest));
  }
  return true;
}
