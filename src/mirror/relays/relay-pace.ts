/** The state of a relay, as seen from its furthest reader. */
export interface RelayState {
  /** Bytes received and not yet read by the furthest reader. */
  readonly aheadBytes: number;
  /** Whether no reader has any bytes left to read. */
  readonly isStarved: boolean;
  /** The bound on `aheadBytes`. */
  readonly maxAheadBytes: number;
  /** Whether the relay is waiting for its readers already. */
  readonly isWaiting: boolean;
}

/**
 * Whether a relay reads from its upstream, or waits for its readers. Once it waits, it waits until half of the bound is read: the upstream
 * then sends one long stretch instead of many short ones, and its connection can serve other requests in between. Pure.
 */
export function relayPace({ aheadBytes, isStarved, maxAheadBytes, isWaiting }: RelayState): 'read' | 'wait' {
  if (isStarved) return 'read';
  return aheadBytes < (isWaiting ? maxAheadBytes / 2 : maxAheadBytes) ? 'read' : 'wait';
}

export interface RoomState {
  /** Whether the furthest reader has read the first chunk. */
  readonly isFrontRead: boolean;
  readonly isStarved: boolean;
}

/**
 * How a relay makes room for the next bytes when neither the window's bound nor the budget allow another chunk: it drops a chunk that the
 * furthest reader has read, and readers that still need it continue with their own requests. It exceeds the bound only when its readers
 * have nothing left to read. Pure.
 */
export function roomForNext({ isFrontRead, isStarved }: RoomState): 'drop' | 'exceed' | 'wait' {
  if (isFrontRead) return 'drop';
  return isStarved ? 'exceed' : 'wait';
}
