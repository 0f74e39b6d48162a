import type { Waiting } from './waiting.ts';

/** Bytes of the process's one memory budget. */
export interface MemoryReservation {
  readonly bytes: number;
  /** Reserves more, or returns some. Less is always possible. @returns false, and changes nothing, when the budget has no room for more. */
  tryResize(bytes: number): boolean;
  /** Returns all of it. A second call does nothing. */
  release(): void;
}

/** How a reservation is made that does not wait. */
export interface MemoryUse {
  /** What only makes things faster (caches, large buffers) may fill this part of the budget, so that what is needed finds room. */
  readonly isOptional?: boolean;
}

/** The process's one memory budget. */
export interface Memory {
  readonly maxBytes: number;
  /** How many wait for memory. */
  readonly waiting: number;
  /** @returns undefined when the budget has no room, or somebody waits for it already. */
  tryReserve(bytes: number, use?: MemoryUse): MemoryReservation | undefined;
  /** Reserves a small amount that is needed whatever the others hold; it may exceed the budget. */
  take(bytes: number): MemoryReservation;
  /**
   * Reserves as soon as there is room: in order of arrival, in a long line by turns with who came last. Who asks for more than the whole budget is granted the whole of it, alone.
   * @throws UpstreamError busy when too many wait already; the signal's reason when it aborts.
   */
  reserve(bytes: number, options: ReserveMemory): Promise<MemoryReservation>;
}

/** How a reservation is made that waits for its turn. */
export interface ReserveMemory extends Waiting {
  /** For bytes that are in memory already: before those who have yet to load theirs. */
  readonly isLoaded?: boolean;
  /** Of a part of the budget: it does not wait for what others hold of that part, only for the budget. */
  readonly isGuaranteed?: boolean;
}
