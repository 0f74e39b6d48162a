/** A registry as the configuration names it. */
export interface NamedRegistry {
  readonly name: string;
  readonly url: string;
}

const mebibyte = 1024 * 1024;

/** Room for a part of what there is to pull, so that something is evicted all the time. */
export const maxCacheBytes = 56 * mebibyte;
/** The disk, which is more than that while nobody else fills it. */
export const diskBytes = 88 * mebibyte;

/** The defaults of the program, but for times that are short enough to strike within minutes, and for room. */
export function mirrorConfig(upstreams: readonly NamedRegistry[]): object {
  const timeouts = { connect: '1s', headers: '2s', token: '2s' };
  return {
    defaultUpstream: 'docker.io',
    upstreams: Object.fromEntries(upstreams.map(({ name, url }) => [name, { url, timeouts }])),
    storage: {
      maxSize: `${maxCacheBytes}B`,
      minFree: '0B',
      keep: ['docker.io/library/pinned-*', 'docker.io/library/doomed-*', 'docker.io/library/real-*'],
      // What is damaged on the disk is found when it is read, and nobody gets it whole.
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

/** The same with a store that has no room for anything: all it serves is relayed. */
export function crampedConfig(upstreams: readonly NamedRegistry[]): object {
  return { ...mirrorConfig(upstreams), storage: { maxSize: '128KiB', minFree: '0B' } };
}
