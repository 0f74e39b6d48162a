import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Observer } from '../ports/observer.ts';
import type { RecordKey, RecordStore } from '../ports/record-store.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { Index } from '../ports/store-index.ts';
import { removeRecords } from './remove-records.ts';

export interface StaleRepositoriesDeps {
  readonly index: Pick<Index, 'isComplete' | 'stalestRepository' | 'forgetRepository'>;
  readonly records: Pick<RecordStore, 'remove'>;
  /** Removes the records that no index knows. */
  readonly loose: Pick<RecordStore, 'remove'>;
  readonly observer: Pick<Observer, 'trouble'>;
  /** What is evicted must leave the memories too. */
  readonly onEvicted: (records: readonly RecordKey[]) => void;
}

/**
 * Repositories that nothing was pulled through for long. Their content may be in use through others, and stays; their records go. So content
 * that is always in use does not hold the records of every repository that was ever linked to it.
 */
export class StaleRepositories {
  readonly #deps: StaleRepositoriesDeps;

  constructor(deps: StaleRepositoriesDeps) {
    this.#deps = deps;
  }

  /**
   * Removes the records of the repository that was not used for longest, if it was not used since `usedBeforeMs`.
   * @returns whether there was one, and it is gone.
   */
  async evictOne(usedBeforeMs: number): Promise<boolean> {
    const { index } = this.#deps;
    const stale = (await index.isComplete()) ? await index.stalestRepository() : undefined;
    return stale !== undefined && stale.usedAtMs < usedBeforeMs && (await this.#evict(stale.of));
  }

  async #evict(of: RepositoryId): Promise<boolean> {
    const { index, records, loose, observer, onEvicted } = this.#deps;
    await nextTurn(); // Many in a row must not keep others waiting.
    try {
      const keys = await index.forgetRepository(of);
      onEvicted(keys);
      await removeRecords(keys, { from: records });
      await removeRecords(
        ['tag-list' as const, 'visibility' as const].map((kind) => ({ kind, of })),
        { from: loose },
      );
      // Once more: a pull meanwhile may have read of the records what was there yet.
      onEvicted(keys);
      return true;
    } catch (cause) {
      observer.trouble({ part: 'eviction', cause });
      return false;
    }
  }
}
