/** A registry with its name in the configuration. */
export interface NamedRegistry {
  readonly name: string;
  readonly url: string;
}

const mebibyte = 1024 * 1024;

/** Room for only a part of the images, so that something is always being evicted. */
export const maxCacheBytes = 56 * mebibyte;
/** The size of the disk: larger than the cache, unless something else fills it. */
export const diskBytes = 88 * mebibyte;

/** The default configuration, but with timeouts that are short enough to expire within minutes, and a small store. */
export function mirrorConfig(upstreams: readonly NamedRegistry[]): object {
  const timeouts = { connect: '1s', headers: '2s', token: '2s' };
  return {
    defaultUpstream: 'docker.io',
    upstreams: Object.fromEntries(upstreams.map(({ name, url }) => [name, { url, timeouts }])),
    storage: {
      maxSize: `${maxCacheBytes}B`,
      minFree: '0B',
      keep: ['docker.io/library/pinned-*', 'docker.io/library/doomed-*', 'docker.io/library/real-*'],
      // A damaged file is found when it is read, and its client is cut.
      verifyReads: true,
      scrubEvery: '20s',
    },
    freshness: { tag: '2s', missing: '1s' },
    download: {
      maxConcurrent: 16,
      maxAbandoned: 4,
      idleTimeout: '1s',
      attemptsWithoutProgress: 3,
      bufferBudget: '32MiB',
    },
    clients: { idleTimeout: '5s', maxRequests: 400 },
  };
}

/** The same with a store that has no room, so that every blob is relayed. */
export function crampedConfig(upstreams: readonly NamedRegistry[]): object {
  return { ...mirrorConfig(upstreams), storage: { maxSize: '128KiB', minFree: '0B' } };
}
