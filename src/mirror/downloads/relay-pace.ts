/** Where a relay stands. Bytes are counted from the reader that is furthest. */
export interface RelayStanding {
  /** Received and not yet read by the furthest reader. */
  readonly aheadBytes: number;
  /** Whether no reader has anything left that it may read. */
  readonly isStarved: boolean;
  /** The most that is received ahead of the furthest reader. */
  readonly maxAheadBytes: number;
  /** Whether it waits for its readers already. */
  readonly isWaiting: boolean;
}

/**
 * Whether a relay reads on from its upstream, or waits until its readers have room. Once it waits, it waits until half of what it holds is
 * read: the upstream then sends one long stretch instead of many short ones, and its connection serves others in between. Pure.
 */
export function relayPace({ aheadBytes, isStarved, maxAheadBytes, isWaiting }: RelayStanding): 'read' | 'wait' {
  if (isStarved) return 'read';
  return aheadBytes < (isWaiting ? maxAheadBytes / 2 : maxAheadBytes) ? 'read' : 'wait';
}

export interface RoomStanding {
  /** Whether the furthest reader has read the first chunk. */
  readonly isFrontRead: boolean;
  readonly isStarved: boolean;
}

/**
 * What is done for the bytes that come next, where neither the window's bound nor the budget allow another chunk: what the furthest reader
 * has read is dropped, and readers that still need it go on by themselves. Only a relay whose readers have nothing left to read exceeds the
 * bound. Pure.
 */
export function roomForNext({ isFrontRead, isStarved }: RoomStanding): 'drop' | 'exceed' | 'wait' {
  if (isFrontRead) return 'drop';
  return isStarved ? 'exceed' : 'wait';
}
