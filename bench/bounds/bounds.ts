import type { BoundName } from '../options.ts';
import type { Stage } from '../scenarios/stage.ts';
import type { Bound } from './bound.ts';
import { measureEvictionBesideKept } from './eviction-beside-kept.ts';
import { measureIdleConnections } from './idle-connections.ts';
import { measureSlowDownloads, measureUnreadManifests } from './memory.ts';
import { measureRangesOfUnstoredBlobs } from './ranges-of-unstored-blobs.ts';

/** Measures one bound. @throws Error if a response is wrong: then the number means nothing. */
export async function measureBound(name: BoundName, stage: Stage): Promise<readonly Bound[]> {
  switch (name) {
    case 'eviction-kept':
      return measureEvictionBesideKept(stage);
    case 'slow-downloads':
      return measureSlowDownloads(stage);
    case 'unread-manifests':
      return measureUnreadManifests(stage);
    case 'idle-connections':
      return measureIdleConnections(stage);
    case 'ranges-no-room':
      return measureRangesOfUnstoredBlobs(stage);
  }
}
