import { LRUCache } from 'lru-cache';
import { abortable } from '../concurrency/abortable-wait.ts';
import { type RepositoryId, repositoryKey } from '../ports/repository-id.ts';
import type { PageOfTags } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';
import { GrowingTags } from './growing-tags.ts';
import type { TagPage, WantedPage } from './tag-names.ts';

const maxUnsorted = 1_000;

/**
 * Tag lists that are being fetched. A client's page is answered as soon as it is known, before the list is complete. If an upstream sends
 * tags out of order, its pages are no longer used: later tags could belong before those already served.
 */
export class ListsInProgress {
  readonly #growing = new Map<string, GrowingTags>();
  readonly #waiting = new Map<string, Set<() => void>>();
  /** Names of upstreams. */
  readonly #unsorted = new LRUCache<string, true>({ max: maxUnsorted });

  /** Tracks one list while `fetch` runs. */
  async during<Value>(
    repositoryId: RepositoryId,
    fetch: (onPage: (page: PageOfTags) => void) => Promise<Value>,
  ): Promise<Value> {
    const name = repositoryKey(repositoryId);
    const growing = new GrowingTags();
    this.#growing.set(name, growing);
    try {
      return await fetch((page) => {
        growing.add(page);
        if (!growing.isSorted) this.#unsorted.set(repositoryId.upstream, true);
        for (const look of this.#waiting.get(name) ?? []) look();
      });
    } finally {
      if (this.#growing.get(name) === growing) this.#growing.delete(name);
    }
  }

  /**
   * Resolves as soon as a list that is being fetched, now or later, has the page. Never resolves if the page can only be read from the complete list.
   * @throws the signal's reason when it aborts.
   */
  async page(repositoryId: RepositoryId, wanted: WantedPage, { signal }: Waiting): Promise<TagPage> {
    const name = repositoryKey(repositoryId);
    const { promise, resolve } = Promise.withResolvers<TagPage>();
    const look = () => {
      const page = this.#unsorted.has(repositoryId.upstream) ? undefined : this.#growing.get(name)?.page(wanted);
      if (page) resolve(page);
    };
    const waiting = this.#waiting.get(name) ?? new Set();
    this.#waiting.set(name, waiting.add(look));
    look();
    try {
      return await abortable(promise, signal);
    } finally {
      waiting.delete(look);
      if (waiting.size === 0) this.#waiting.delete(name);
    }
  }
}
