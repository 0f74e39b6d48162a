import type { FreeSpace } from '../ports/blob-store.ts';
import type { EvictableContent } from '../ports/store-index.ts';

/** What the store may take of the disk. */
export interface SpaceLimits {
  readonly maxBytes: number;
  readonly minFreeBytes: number;
  /** Files and folders. */
  readonly maxFiles: number;
}

export interface SpaceUse {
  /** Visible content, records, and the index. */
  readonly storedBytes: number;
  /** Arriving, promised to arrive, and in quarantine. */
  readonly pendingBytes: number;
  readonly freeBytes: number;
}

/** How many bytes must go before `wantedBytes` more may come; 0 when there is room. Pure. */
export function bytesToFree(
  { storedBytes, pendingBytes, freeBytes }: SpaceUse,
  limits: SpaceLimits,
  wantedBytes: number,
): number {
  const overCap = storedBytes + pendingBytes + wantedBytes - limits.maxBytes;
  const underFree = limits.minFreeBytes + wantedBytes - freeBytes;
  return Math.max(0, overCap, underFree);
}

/** What stays free: for the writes of one moment, and for those of the machine's other programs. */
const reservedInodes = 1_000;
const reservedShare = 1 / 20;

/** How many files must go so that new ones can be made; 0 where the disk sets no limit to them. Pure. */
export function inodesToFree(inodes: FreeSpace['inodes']): number {
  if (!inodes) return 0;
  return Math.max(0, Math.ceil(Math.min(reservedInodes, inodes.all * reservedShare)) - inodes.free);
}

export interface VictimRules {
  readonly isBusy: (content: EvictableContent) => boolean;
  readonly bytesNeeded: number;
  readonly contentsNeeded: number;
}

/**
 * Which of the least recently used go now. The list ends at the first manifest: with it gone, what only it named becomes
 * evictable by its own last use, and comes before what follows here. So an image goes whole, and a layer that another image names stays.
 * Pure.
 */
export function chooseVictims(
  oldestFirst: readonly EvictableContent[],
  rules: VictimRules,
): readonly EvictableContent[] {
  const victims: EvictableContent[] = [];
  let freedBytes = 0;
  for (const content of oldestFirst) {
    if (freedBytes >= rules.bytesNeeded && victims.length >= rules.contentsNeeded) break;
    if (rules.isBusy(content)) continue;
    victims.push(content);
    freedBytes += content.diskBytes;
    if (content.isManifest) break;
  }
  return victims;
}
