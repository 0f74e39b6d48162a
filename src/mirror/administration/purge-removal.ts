import { LRUCache } from 'lru-cache';
import type { Digest } from '../../oci/digest.ts';
import type { Tag } from '../../oci/reference.ts';
import type { Unpurged } from '../eviction/eviction.ts';
import { RecordsLeft } from '../eviction/removal.ts';
import type { Space } from '../eviction/space.ts';
import type { Observer } from '../ports/observer.ts';
import { isSameRepository, type RepositoryId, repositoryKey } from '../ports/repository-id.ts';
import {
  type Catalogue,
  type ContentDetails,
  type EvictableContent,
  mostDetails,
  type TagOfRepository,
} from '../ports/store-index.ts';

/** What is to be purged of a repository: a tag, some tags, a digest, or all of it. */
export type PurgeTarget =
  | { readonly kind: 'tag'; readonly repositoryId: RepositoryId; readonly tag: Tag }
  | { readonly kind: 'tags'; readonly repositoryId: RepositoryId; readonly isWanted: (tag: Tag) => boolean }
  | { readonly kind: 'digest'; readonly repositoryId: RepositoryId; readonly digest: Digest }
  | { readonly kind: 'repository'; readonly repositoryId: RepositoryId };

/** What is removed, or would be. */
export interface Purged {
  readonly tags: readonly Tag[];
  /** What names other content before what it names. */
  readonly contents: readonly EvictableContent[];
  /** How many contents stay, because something else needs them. */
  readonly kept: number;
  /** What the disk or the index does not let go now; absent if there is nothing. The next purge of the same target takes it up. */
  readonly left?: PurgeLeft | undefined;
}

export interface PurgeLeft {
  readonly tags: readonly Tag[];
  readonly contents: readonly Digest[];
}

/** What would be gone already, if other purges had run before. */
export interface PurgedBefore {
  /** Whether all of a repository is gone. */
  readonly isGone: (repositoryId: RepositoryId) => boolean;
  readonly contents: ReadonlySet<Digest>;
}

export const nothingBefore: PurgedBefore = { isGone: () => false, contents: new Set() };

export interface PurgeRemovalDeps {
  readonly index: Pick<Catalogue, 'details'>;
  readonly space: Pick<Space, 'purge' | 'purgeRecords' | 'purgeRepository'>;
  readonly observer: Pick<Observer, 'internalError'>;
}

/** Tags whose records are removed in one step; between steps downloads reserve their room. */
const tagsAtOnce = 64;
/** Tags and contents that are remembered as left, over all targets: about 20 MB. */
const mostLeft = 200_000;

/**
 * Removes what a purge has planned. What a step does not remove is left, and told. By then its tag, or the manifest that named it, may be gone,
 * so it is remembered: the next purge of the same target begins with it. After a restart it may be served as before, can be purged by what the answer
 * named, and is evicted like anything else that nothing needs.
 */
export class PurgeRemoval {
  readonly #deps: PurgeRemovalDeps;
  /** By {@link targetText}. */
  readonly #left = new LRUCache<string, PurgeLeft & { readonly target: PurgeTarget }>({
    maxSize: mostLeft,
    sizeCalculation: ({ tags, contents }) => 1 + tags.length + contents.length,
  });

  constructor(deps: PurgeRemovalDeps) {
    this.#deps = deps;
  }

  /** What earlier purges of the target have left. */
  leftOf(target: PurgeTarget): PurgeLeft | undefined {
    return this.#left.get(targetText(target));
  }

  /** The repositories of which a purge of this kind has left something. */
  unfinished(kind: PurgeTarget['kind']): readonly RepositoryId[] {
    return [...this.#left.values()].flatMap(({ target }) => (target.kind === kind ? target.repositoryId : []));
  }

  async run(target: PurgeTarget, planned: Purged): Promise<Purged> {
    const isUnlinked = target.kind !== 'repository';
    const { tags: leftTags, contents: left, kept } = planned;
    let state: SoFar = { isUnlinked, leftTags, left, removed: [], kept };
    state = await this.#round(target, planned, state);
    if (isSomeLeft(state)) state = await this.#round(target, planned, state); // What went may have made room on a full disk.
    const isLeft = new Set(state.leftTags);
    const { removed: contents } = state;
    const tags = planned.tags.filter((tag) => !isLeft.has(tag));
    return { tags, contents, kept: state.kept, left: this.#remember(target, state) };
  }

  async #round(target: PurgeTarget, { tags }: Purged, before: SoFar): Promise<SoFar> {
    const { repositoryId, kind } = target;
    const isUnlinked = before.isUnlinked || (await this.#deps.space.purgeRepository(repositoryId));
    const isWithoutTags = kind === 'repository' && isUnlinked;
    const leftTags = isWithoutTags ? [] : await this.#removeTags(repositoryId, before.leftTags);
    const removed = [...before.removed];
    const left = new Map<Digest, EvictableContent>();
    const goingTags = new Set(isUnlinked ? [] : tags);
    let { kept } = before;
    for (const content of before.left) {
      const outcome = await this.#remove(target, content, { left, goingTags, isUnlinked });
      if (outcome === 'removed') removed.push(content);
      else if (outcome === 'left') left.set(content.digest, content);
      else if (outcome === 'needed') kept += 1;
    }
    return { isUnlinked, leftTags, left: [...left.values()], removed, kept };
  }

  /** @returns those whose record the disk did not remove; it is tried again in the background. */
  async #removeTags(repositoryId: RepositoryId, tags: readonly Tag[]): Promise<readonly Tag[]> {
    const { space, observer } = this.#deps;
    const left: Tag[] = [];
    for (let at = 0; at < tags.length; at += tagsAtOnce) {
      const some = tags.slice(at, at + tagsAtOnce);
      await space.purgeRecords(some.map((tag) => ({ kind: 'tag', repositoryId, tag }))).catch((cause: unknown) => {
        observer.internalError({ part: 'eviction', cause });
        left.push(...some.filter((tag) => mayBeLeft(tag, cause)));
      });
    }
    return left;
  }

  async #remove(
    { kind, repositoryId }: PurgeTarget,
    content: EvictableContent,
    { left, goingTags, isUnlinked }: Removing,
  ): Promise<'removed' | Unpurged> {
    const { space, index, observer } = this.#deps;
    const going = { repositoryId, tags: goingTags, removed: left, before: nothingBefore };
    // A client may have pulled it meanwhile. Every link of a repository that was unlinked is new.
    const decide = async () => {
      const details = await index.details(content.digest);
      if (details === undefined) return 'left';
      if (details.content === undefined) return 'gone';
      const isLinkedAgain = kind === 'repository' && isUnlinked && details.linkedBy.length > 0;
      if (isLinkedAgain || !isFree(details, going)) return 'needed';
      return details.namedBy.length > 0 ? 'left' : 'free';
    };
    try {
      return await space.purge(content, decide);
    } catch (cause) {
      observer.internalError({ part: 'eviction', cause });
      return 'left';
    }
  }

  #remember(target: PurgeTarget, state: SoFar): PurgeLeft | undefined {
    if (!isSomeLeft(state)) {
      this.#left.delete(targetText(target));
      return undefined;
    }
    const left = { tags: state.leftTags, contents: state.left.map(({ digest }) => digest) };
    this.#left.set(targetText(target), { ...left, target });
    return left;
  }
}

function isSomeLeft({ isUnlinked, leftTags, left }: SoFar): boolean {
  return !isUnlinked || leftTags.length + left.length > 0;
}

function targetText(target: PurgeTarget): string {
  const name = `${target.kind} ${repositoryKey(target.repositoryId)}`;
  if (target.kind === 'tag') return `${name}:${target.tag}`;
  return target.kind === 'digest' ? `${name}@${target.digest}` : name;
}

function mayBeLeft(tag: Tag, cause: unknown): boolean {
  return !(cause instanceof RecordsLeft) || cause.records.some((key) => key.kind === 'tag' && key.tag === tag);
}

/** How a removal went until now. */
interface SoFar {
  /** Whether the repository is linked to nothing any more, if it is purged as a whole. */
  readonly isUnlinked: boolean;
  readonly leftTags: readonly Tag[];
  readonly left: readonly EvictableContent[];
  readonly removed: readonly EvictableContent[];
  readonly kept: number;
}

interface Removing extends Pick<SoFar, 'isUnlinked'> {
  readonly left: ReadonlyMap<Digest, unknown>;
  /** Those that the purge removes, and the index may still have. */
  readonly goingTags: ReadonlySet<Tag>;
}

interface Purging {
  readonly repositoryId: RepositoryId;
  /** Its tags that go. */
  readonly tags: ReadonlySet<Tag>;
  /** The contents that go. */
  readonly removed: ReadonlyMap<Digest, unknown>;
  readonly before: PurgedBefore;
}

/** Whether nothing but what goes needs a content. What has more references than the index tells is needed. Pure. */
export function isFree(
  { linkedBy, tags, namedBy }: Pick<ContentDetails, 'linkedBy' | 'tags' | 'namedBy'>,
  { repositoryId, tags: goingTags, removed, before }: Purging,
): boolean {
  if ([linkedBy, tags, namedBy].some((known) => known.length >= mostDetails)) return false;
  const isGoing = ({ repositoryId: one, tag }: TagOfRepository) =>
    before.isGone(one) || (isSameRepository(one, repositoryId) && goingTags.has(tag));
  return (
    linkedBy.every((one) => before.isGone(one) || isSameRepository(one, repositoryId)) &&
    tags.every(isGoing) &&
    namedBy.every((parent) => removed.has(parent) || before.contents.has(parent))
  );
}
