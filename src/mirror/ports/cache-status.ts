/**
 * Where an answer came from, in one word.
 *
 *     hit          from the cache, the upstream was not asked
 *     revalidated  from the cache, after the upstream confirmed the tag
 *     stale        from the cache, because the upstream gave no answer (or says it is gone)
 *     collapsed    from an upstream request that somebody else had already started
 *     miss         from the upstream, by a request of its own
 *     negative     a remembered "not found"
 *     none         nothing to do with the cache: a ping, a bad request
 */
export type CacheWord = 'hit' | 'revalidated' | 'stale' | 'collapsed' | 'miss' | 'negative' | 'none';

export interface CacheStatus {
  readonly word: CacheWord;
  /** What the upstream answered, where it was asked and did. */
  readonly upstreamStatus?: number | undefined;
  /** Whether what came from the upstream is being kept. */
  readonly stored?: boolean;
  /** Why it is stale: a Trouble or `gone`. */
  readonly reason?: string;
}
