import type { RebuildableIndex } from '../../src/index/rebuild.ts';

/** The steps of a rebuild of an index that keeps nothing. */
export const idleRebuild = {
  beginRebuild: () => {},
  endCounting: async () => {},
  recordStoredContent: () => {},
  recordLink: () => {},
  recordStoredTag: () => {},
  settled: async () => {},
} satisfies Partial<RebuildableIndex>;
