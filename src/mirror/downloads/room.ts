import type { Reservation, Space } from '../eviction/space.ts';

export interface RoomOptions {
  readonly space: Pick<Space, 'reserve'>;
  /** The size that the upstream claims; undefined when it claims none. */
  readonly claimedBytes: number | undefined;
}

/** The store is full, and nothing can be evicted. */
export class NoRoom extends Error {
  override readonly name = 'NoRoom';

  constructor() {
    super('the store has no room for the rest of the blob');
  }
}

const firstStepBytes = 1024 * 1024;
const maxStepBytes = 16 * 1024 * 1024;

/**
 * How much room to make when a download needs more: as much as has arrived, within bounds. So evictions are in proportion to the bytes that
 * arrived, not to the size that the upstream claims. Pure.
 */
export function roomStep({
  neededBytes,
  arrivedBytes,
  claimedBytes = Infinity,
}: {
  readonly neededBytes: number;
  readonly arrivedBytes: number;
  readonly claimedBytes?: number | undefined;
}): number {
  const step = Math.min(Math.max(firstStepBytes, arrivedBytes), maxStepBytes);
  return Math.max(neededBytes, Math.min(step, claimedBytes - arrivedBytes));
}

/** Room in the store for one download, made in steps as its bytes arrive. */
export class Room {
  readonly #options: RoomOptions;
  #reservations: Reservation[] = [];
  #arrivedBytes = 0;
  #reservedBytes = 0;
  #isReleased = false;

  constructor(options: RoomOptions) {
    this.#options = options;
  }

  /** Makes room for the bytes that are written next, evicting if necessary. @throws NoRoom */
  async makeFor(bytes: number): Promise<void> {
    const neededBytes = this.#arrivedBytes + bytes - this.#reservedBytes;
    if (neededBytes <= 0) return;
    const { space, claimedBytes } = this.#options;
    const step = roomStep({ neededBytes, arrivedBytes: this.#arrivedBytes, claimedBytes });
    const reservation =
      (await space.reserve(step)) ?? (step > neededBytes ? await space.reserve(neededBytes) : undefined);
    if (!reservation) throw new NoRoom();
    if (this.#isReleased) return reservation.release();
    this.#reservations.push(reservation);
    this.#reservedBytes += reservation.bytes;
  }

  /** To be called when bytes were written: they count as stored from now on. */
  wrote(bytes: number): void {
    this.#arrivedBytes += bytes;
    let left = bytes;
    for (const reservation of this.#reservations) left -= reservation.wrote(left);
    this.#reservations = this.#reservations.filter(({ leftBytes }) => leftBytes > 0);
  }

  release(): void {
    this.#isReleased = true;
    for (const reservation of this.#reservations.splice(0)) reservation.release();
  }
}
