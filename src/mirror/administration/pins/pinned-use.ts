import type { Digest } from '../../../oci/digest.ts';
import { bytesOnDisk } from '../../ports/record-store.ts';
import { type RepositoryId, repositoryKey, repositoryNamed } from '../../ports/repository-id.ts';
import type { Catalogue, ContentDetails } from '../../ports/store-index.ts';
import type { Waiting } from '../../ports/waiting.ts';
import type { PinSet } from './pin-set.ts';

export interface PinnedUseDeps {
  readonly index: Pick<Catalogue, 'repositories' | 'tags' | 'links' | 'details'>;
  /** Whether `storage.keep` names a repository: its content is counted as kept. */
  readonly isKept: (name: string) => boolean;
  /** For tests. */
  readonly most?: number;
}

/** Contents that are counted: about 25 MB of digests. What is beyond is not counted. */
const mostCounted = 200_000;
const pageSize = 250;

/**
 * The disk use of what is pinned and stored now, without what is kept anyway; content of several pins counts once.
 * @returns undefined if the index cannot tell now. @throws the signal's reason when it aborts.
 */
export async function pinnedBytes(
  pins: PinSet,
  digests: readonly Digest[],
  { signal, ...deps }: PinnedUseDeps & Waiting,
): Promise<number | undefined> {
  const { index, isKept, most = mostCounted } = deps;
  const seen = new Set<Digest>();
  let bytes = 0;
  for await (const root of rootsOf(pins, digests, deps)) {
    if (root === 'unreadable') return undefined;
    for (const queue = [root]; queue.length > 0 && seen.size < most; ) {
      signal.throwIfAborted();
      const digest = queue.pop();
      if (digest === undefined || seen.has(digest)) continue;
      const details = await index.details(digest);
      if (details === undefined) return undefined;
      seen.add(digest);
      queue.push(...details.names);
      bytes += bytesOf(details, isKept);
    }
  }
  return bytes;
}

function bytesOf({ content, linkedBy }: ContentDetails, isKept: (name: string) => boolean): number {
  if (content === undefined || linkedBy.some((one) => isKept(repositoryKey(one)))) return 0;
  return bytesOnDisk(content.size);
}

/** What is pinned by itself: not because something names it. */
async function* rootsOf(
  pins: PinSet,
  digests: readonly Digest[],
  { index }: Pick<PinnedUseDeps, 'index'>,
): AsyncGenerator<Digest | 'unreadable', void, void> {
  yield* digests;
  if (!pins.hasNames) return;
  for (let last = '', isLast = false; !isLast; ) {
    const names = await index.repositories({ last, limit: pageSize });
    if (names === undefined) return yield 'unreadable';
    for (const name of names) if (pins.isAbout(name)) yield* rootsIn(repositoryNamed(name), pins, index);
    last = names.at(-1) ?? last;
    isLast = names.length < pageSize;
  }
}

async function* rootsIn(
  repositoryId: RepositoryId,
  pins: PinSet,
  index: PinnedUseDeps['index'],
): AsyncGenerator<Digest | 'unreadable', void, void> {
  const name = repositoryKey(repositoryId);
  if (pins.hasRepository(name)) {
    for (let after: Digest | undefined, isLast = false; !isLast; ) {
      const page = await index.links(repositoryId, { after, limit: pageSize });
      if (page === undefined) return yield 'unreadable';
      yield* page;
      after = page.at(-1);
      isLast = page.length < pageSize;
    }
    return;
  }
  for (let after: string | undefined, isLast = false; !isLast; ) {
    const page = await index.tags(repositoryId, { after, limit: pageSize });
    if (page === undefined) return yield 'unreadable';
    for (const { tag, digest } of page) if (pins.hasTag(name, tag)) yield digest;
    after = page.at(-1)?.tag;
    isLast = page.length < pageSize;
  }
}
