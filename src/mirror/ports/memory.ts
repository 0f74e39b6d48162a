import type { Waiting } from './waiting.ts';

/** Bytes of the process's one memory budget. */
export interface MemoryReservation {
  readonly bytes: number;
  /** Changes the reservation to `bytes`. A smaller one always succeeds. @returns false, and changes nothing, when the budget has no room. */
  tryResize(bytes: number): boolean;
  /** Whether {@link tryResize} would succeed now. It changes nothing. */
  canResize(bytes: number): boolean;
  /** Returns all of it. A second call does nothing. */
  release(): void;
}

/** Options of a reservation that does not wait. */
export interface MemoryUse {
  /** For uses that only make things faster (caches, large buffers): they may fill half of the budget, and leave the rest to needed uses. */
  readonly isOptional?: boolean;
}

/** The process's one memory budget. */
export interface Memory {
  readonly maxBytes: number;
  /** How many reservations wait for memory. */
  readonly waiting: number;
  /** @returns undefined when the budget has no room, or others wait for it already. */
  tryReserve(bytes: number, use?: MemoryUse): MemoryReservation | undefined;
  /** Reserves a small amount that is needed whatever the others hold; it may exceed the budget. */
  take(bytes: number): MemoryReservation;
  /**
   * Reserves as soon as there is room: in order of arrival, but in a long line the first and the last are served in turn. A request for more
   * than the whole budget is granted the whole of it, alone.
   * @throws UpstreamError busy when too many wait already; the signal's reason when it aborts.
   */
  reserve(bytes: number, options: ReserveMemory): Promise<MemoryReservation>;
}

/** Options of a reservation that waits for its turn. */
export interface ReserveMemory extends Waiting {
  /** For bytes that are in memory already: these are served before bytes that are yet to be loaded. */
  readonly isLoaded?: boolean;
  /** In a share of the budget: it does not wait for other reservations in the share, only for the whole budget. */
  readonly isGuaranteed?: boolean;
}
