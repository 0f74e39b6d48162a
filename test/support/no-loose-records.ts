import type { SpaceDeps } from '../../src/mirror/eviction/space.ts';

/** For tests of a space beside which nothing is written. */
export const noLooseRecords: SpaceDeps['loose'] = {
  contentRemoved: () => {},
  drop: async () => 0,
  dropFormerlyNeeded: async () => 0,
  sweep: async () => {},
  remove: async () => {},
};
