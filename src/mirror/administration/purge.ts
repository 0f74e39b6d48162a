import pLimit from 'p-limit';
import type { Digest } from '../../oci/digest.ts';
import type { Tag } from '../../oci/reference.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import type { Background } from '../concurrency/background.ts';
import { bytesOnDisk, type RecordKey, type RecordStore } from '../ports/record-store.ts';
import { isSameRepository, type RepositoryId } from '../ports/repository-id.ts';
import { type Catalogue, type ContentDetails, type EvictableContent, type Index } from '../ports/store-index.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { TagRecords } from '../tags/tag-records.ts';
import {
  isFree,
  nothingBefore,
  type Purged,
  type PurgedBefore,
  type PurgeLeft,
  PurgeRemoval,
  type PurgeRemovalDeps,
  type PurgeTarget,
} from './purge-removal.ts';
import { indexThem, type UnindexedRecord, unindexedRecords } from './unindexed-records.ts';

/** `unknown`: it is not cached. `unreadable`: the index cannot tell now what is needed. `too-many`: of one repository. */
export type PurgeRefusal = 'unknown' | 'unreadable' | 'too-many';

export interface PurgeDeps extends PurgeRemovalDeps {
  readonly index: Catalogue & Pick<Index, 'isComplete' | 'recordLink' | 'recordTag'>;
  readonly background: Pick<Background, 'settled'>;
  readonly tagRecords: Pick<TagRecords, 'get'>;
  readonly records: Pick<RecordStore, 'listOf'>;
  /** For tests. */
  readonly most?: number;
}

/** The tags and digests of a repository that one purge holds in memory. */
const mostOfRepository = 100_000;
const pageSize = 1_000;

/**
 * Removes what an operator wants gone: tags first, then each manifest that no tag, no stored manifest and no other repository needs, then what
 * only it named; each by the steps of an eviction. What another repository is linked to stays. One purge runs at a time.
 */
export class Purge {
  readonly #deps: PurgeDeps;
  readonly #inTurn = pLimit(1);
  readonly #removal: PurgeRemoval;

  constructor(deps: PurgeDeps) {
    this.#deps = deps;
    this.#removal = new PurgeRemoval(deps);
  }

  /** What would be removed now, or after other purges. @throws the signal's reason when it aborts. */
  plan(target: PurgeTarget, waiting: Waiting, before = nothingBefore): Promise<Purged | PurgeRefusal> {
    return this.#inTurn(async () => {
      const found = await this.#plan(target, waiting, before);
      return typeof found === 'string' ? found : found.planned;
    });
  }

  /**
   * Purges. Once it removes, it ends whether or not somebody waits: content without its tag or link could not be named again.
   * @throws the signal's reason when it aborts before.
   */
  run(target: PurgeTarget, waiting: Waiting): Promise<Purged | PurgeRefusal> {
    return this.#inTurn(async () => {
      const found = await this.#plan(target, waiting, nothingBefore);
      if (typeof found === 'string') return found;
      indexThem(found.unindexed, { ...this.#deps, ...target });
      return this.#removal.run(target, found.planned);
    });
  }

  /** The repositories of which an earlier purge of this kind has left something: the index may not name them any more. */
  unfinished(kind: PurgeTarget['kind']): readonly RepositoryId[] {
    return this.#removal.unfinished(kind);
  }

  async #plan(target: PurgeTarget, { signal }: Waiting, before: PurgedBefore): Promise<Plan | PurgeRefusal> {
    const { index, background } = this.#deps;
    signal.throwIfAborted();
    // What was just pulled is written in the background; it would appear on the disk after it was removed.
    await abortable(background.settled(), signal);
    if (!(await index.isComplete())) return 'unreadable';
    const found = withLeft(await abortable(this.#rootsOf(target, signal), signal), this.#removal.leftOf(target));
    if (typeof found === 'string') return found;
    const { roots, tags, unindexed } = found;
    const removed = new Map<Digest, EvictableContent>();
    const kept = new Set<Digest>();
    const purging = { repositoryId: target.repositoryId, tags: new Set(tags), removed, before };
    for (const queue = [...roots]; queue.length > 0; ) {
      signal.throwIfAborted();
      const digest = queue.pop();
      if (digest === undefined || removed.has(digest) || before.contents.has(digest)) continue;
      const details = await index.details(digest);
      if (details === undefined) return 'unreadable';
      if (details.content === undefined) continue;
      kept.add(digest);
      if (!isFree(details, purging)) continue;
      kept.delete(digest);
      removed.set(digest, evictableOf(digest, details.content));
      queue.push(...details.names);
    }
    return { planned: { tags, contents: [...removed.values()], kept: kept.size }, unindexed };
  }

  async #rootsOf(target: PurgeTarget, signal: AbortSignal): Promise<Roots | PurgeRefusal> {
    const { tagRecords, index } = this.#deps;
    const { repositoryId } = target;
    switch (target.kind) {
      case 'tag': {
        const record = await tagRecords.get(repositoryId, target.tag);
        return record ? { tags: [target.tag], roots: [record.digest], unindexed: [] } : 'unknown';
      }
      case 'digest': {
        const details = await index.details(target.digest);
        if (details === undefined) return 'unreadable';
        const isLinked = details.linkedBy.some((one) => isSameRepository(one, repositoryId));
        const own = details.tags.filter((one) => isSameRepository(one.repositoryId, repositoryId));
        const tags = own.map(({ tag }) => tag);
        return isLinked ? { tags, roots: [target.digest], unindexed: [] } : 'unknown';
      }
      case 'tags':
        return this.#withUnindexed(target, await this.#someTagsOf(repositoryId, target.isWanted), signal);
      case 'repository':
        return this.#withUnindexed(target, await this.#allOf(repositoryId), signal);
    }
  }

  /** What the index has, with what only the disk has. */
  async #withUnindexed(
    target: Extract<PurgeTarget, { readonly kind: 'tags' | 'repository' }>,
    indexed: Roots | PurgeRefusal,
    signal: AbortSignal,
  ): Promise<Roots | PurgeRefusal> {
    const { observer, most = mostOfRepository } = this.#deps;
    if (indexed === 'unreadable' || indexed === 'too-many') return indexed;
    const { tags, roots } = indexed === 'unknown' ? nothing : indexed;
    const isWanted = (key: RecordKey) =>
      target.kind === 'repository' || (key.kind === 'tag' && target.isWanted(key.tag));
    const unindexed: UnindexedRecord[] = [];
    try {
      const known = { tags, links: roots };
      for await (const one of unindexedRecords({ ...this.#deps, ...target, known, isWanted })) {
        if (signal.aborted) return 'unreadable'; // Nobody waits for it.
        unindexed.push(one);
        if (unindexed.length > most) return 'too-many';
      }
    } catch (cause) {
      observer.internalError({ part: 'eviction', cause });
      return 'unreadable';
    }
    if (unindexed.length === 0) return indexed;
    const found = unindexed.flatMap((one) => (one.kind === 'tag' ? one.tag : []));
    return { tags: [...tags, ...found], roots: [...roots, ...unindexed.map(({ digest }) => digest)], unindexed };
  }

  async #someTagsOf(repositoryId: RepositoryId, isWanted: (tag: Tag) => boolean): Promise<Roots | PurgeRefusal> {
    const { index, most = mostOfRepository } = this.#deps;
    const tags: Tag[] = [];
    const roots = new Set<Digest>();
    for (let after: Tag | undefined, isLast = false; !isLast; ) {
      const page = await index.tags(repositoryId, { after, limit: pageSize });
      if (page === undefined) return 'unreadable';
      for (const { tag, digest } of page) {
        if (!isWanted(tag)) continue;
        tags.push(tag);
        roots.add(digest);
      }
      after = page.at(-1)?.tag;
      isLast = page.length < pageSize;
      if (tags.length > most) return 'too-many';
    }
    return tags.length === 0 ? 'unknown' : { ...nothing, tags, roots: [...roots] };
  }

  async #allOf(repositoryId: RepositoryId): Promise<Roots | PurgeRefusal> {
    const { index, most = mostOfRepository } = this.#deps;
    const tagged = await this.#someTagsOf(repositoryId, () => true);
    if (tagged === 'unreadable' || tagged === 'too-many') return tagged;
    const tags = tagged === 'unknown' ? [] : tagged.tags;
    const roots: Digest[] = [];
    for (let isLast = false; !isLast; ) {
      const page = await index.links(repositoryId, { after: roots.at(-1), limit: pageSize });
      if (page === undefined) return 'unreadable';
      roots.push(...page);
      isLast = page.length < pageSize;
      if (roots.length > most) return 'too-many';
    }
    return tags.length + roots.length === 0 ? 'unknown' : { ...nothing, tags, roots };
  }
}

interface Roots {
  readonly tags: readonly Tag[];
  readonly roots: readonly Digest[];
  /** Those of them that the index has not got. */
  readonly unindexed: readonly UnindexedRecord[];
}

const nothing: Roots = { tags: [], roots: [], unindexed: [] };

interface Plan {
  readonly planned: Purged;
  readonly unindexed: readonly UnindexedRecord[];
}

/** What is found, with what an earlier purge has left. Pure. */
function withLeft(found: Roots | PurgeRefusal, left: PurgeLeft | undefined): Roots | PurgeRefusal {
  if (left === undefined || (typeof found === 'string' && found !== 'unknown')) return found;
  const { tags, roots, unindexed } = typeof found === 'string' ? nothing : found;
  return { tags: [...new Set([...tags, ...left.tags])], roots: [...new Set([...roots, ...left.contents])], unindexed };
}

function evictableOf(digest: Digest, content: NonNullable<ContentDetails['content']>): EvictableContent {
  return { digest, ...content, diskBytes: bytesOnDisk(content.size) };
}
