/**
 * Where an answer came from, in one word.
 *
 *     hit          from the cache, the upstream was not asked
 *     revalidated  from the cache, after the upstream confirmed the tag
 *     stale        from the cache, because the upstream gave no answer or the tag is gone
 *     collapsed    from an upstream request that another client had already started
 *     miss         from the upstream, by a request of its own
 *     negative     a remembered "not found"
 *     none         nothing to do with the cache: a ping, a bad request
 */
export type CacheWord = 'hit' | 'revalidated' | 'stale' | 'collapsed' | 'miss' | 'negative' | 'none';

/** A cache that an answer came through: a sibling replica, or the bucket that the replicas share. */
export type OtherCacheKind = 'sibling' | 'shared';

export interface CacheStatus {
  readonly word: CacheWord;
  /** The status of the upstream's answer, if it was asked and answered. */
  readonly upstreamStatus?: number | undefined;
  /** Whether the upstream's answer is being stored. */
  readonly stored?: boolean;
  /** The other cache that a blob came through when its download began. */
  readonly via?: OtherCacheKind | undefined;
  /** Why it is stale: the reason of an UpstreamError, or `gone`. */
  readonly reason?: string;
}
