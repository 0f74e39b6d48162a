import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Observer } from '../ports/observer.ts';
import type { RecordKey, RecordStore } from '../ports/record-store.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { Index } from '../ports/store-index.ts';
import type { PinnedContent } from './eviction.ts';
import { linkAgain, type MemoryOfRemoved, removeEverywhere, removeRecords } from './removal.ts';

export interface StaleRepositoriesDeps extends MemoryOfRemoved {
  readonly index: Pick<Index, 'isComplete' | 'stalestRepository' | 'forgetRepository' | 'recordLink'>;
  readonly records: Pick<RecordStore, 'remove'>;
  /** Removes the records that the index does not have. */
  readonly loose: Pick<RecordStore, 'remove'>;
  readonly observer: Pick<Observer, 'internalError'>;
  /** Absent: nothing is pinned. */
  readonly pins?: Pick<PinnedContent, 'isKnown' | 'isPinnedRepository' | 'version'> | undefined;
}

/**
 * Evicts the records of repositories that were not pulled through for long. Their content stays while other repositories use it. So content
 * that is always in use does not keep the records of every repository that was ever linked to it.
 */
export class StaleRepositories {
  readonly #deps: StaleRepositoriesDeps;
  /** How many of the least recently used ones are pinned, as far as they were looked at; by this version of the pins. */
  #pinnedFirst = 0;
  #version: number | undefined;

  constructor(deps: StaleRepositoriesDeps) {
    this.#deps = deps;
  }

  /**
   * Removes the records of the least recently used repository, if it was last used before `usedBeforeMs`.
   * @returns whether there was such a repository and its records were removed.
   */
  async evictOne(usedBeforeMs: number): Promise<boolean> {
    const { index, pins } = this.#deps;
    if (pins?.isKnown === false || !(await index.isComplete())) return false;
    if (this.#version !== pins?.version) this.recheck();
    for (;;) {
      const stale = await index.stalestRepository(this.#pinnedFirst);
      if (stale === undefined || stale.usedAtMs >= usedBeforeMs) return false;
      if (!pins?.isPinnedRepository(stale.repositoryId)) return this.evict(stale.repositoryId);
      this.#pinnedFirst += 1;
    }
  }

  /** Looks at the pinned repositories again: some of them may have been pulled through. */
  recheck(): void {
    this.#pinnedFirst = 0;
    this.#version = this.#deps.pins?.version;
  }

  /** Removes the records of a repository. @returns whether they are gone. */
  async evict(repositoryId: RepositoryId): Promise<boolean> {
    const { index, observer } = this.#deps;
    await nextTurn(); // Many calls in a row must not block the event loop.
    const forget = () => index.forgetRepository(repositoryId);
    const remove = (keys: readonly RecordKey[]) => this.#removed(repositoryId, keys);
    try {
      return (await removeEverywhere(this.#deps, { forget, remove })) !== undefined;
    } catch (cause) {
      observer.internalError({ part: 'eviction', cause });
      linkAgain(cause, this.#deps);
      return false;
    }
  }

  async #removed(repositoryId: RepositoryId, keys: readonly RecordKey[]): Promise<true> {
    const { records, loose } = this.#deps;
    await removeRecords(keys, { from: records });
    await removeRecords(
      ['tag-list' as const, 'visibility' as const].map((kind) => ({ kind, repositoryId })),
      { from: loose },
    );
    return true;
  }
}
