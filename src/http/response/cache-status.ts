import type { CacheStatus } from '../../mirror/ports/cache-status.ts';

/** The Cache-Status header of RFC 9211 for one answer. */
export function cacheStatusHeader(status: CacheStatus): string | undefined {
  const asked = status.upstreamStatus === undefined ? '' : `; fwd-status=${status.upstreamStatus}`;
  switch (status.word) {
    case 'hit':
      return 'layerwell; hit';
    case 'negative':
      return 'layerwell; hit; detail=negative';
    case 'revalidated':
      return `layerwell; fwd=stale${asked}; detail=revalidated`;
    case 'stale':
      return `layerwell; fwd=stale${asked}; detail=stale`;
    case 'collapsed':
      return `layerwell; fwd=uri-miss${asked}; collapsed`;
    case 'miss':
      return `layerwell; fwd=uri-miss${asked}${status.stored ? '; stored' : ''}`;
    case 'none':
      return undefined;
  }
}
