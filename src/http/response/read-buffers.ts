import type { Memory, MemoryReservation } from '../../mirror/ports/memory.ts';

/** Two buffers: while one is written to the socket, the other is filled. */
export interface BufferPair {
  readonly buffers: readonly [Buffer, Buffer];
  /** Returns the buffers for the next reader. They must not be used any more. */
  release(): void;
  /** Ends the use without reusing the buffers: a destroyed socket may still send from them. */
  discard(): void;
}

/** Buffer sizes, and the share of the budget up to which each is handed out. Large buffers are for few readers: more would not fit the CPU caches. */
const sizes: readonly { readonly size: number; readonly share: number }[] = [
  { size: 512 * 1024, share: 1 / 64 },
  { size: 256 * 1024, share: 1 / 8 },
  { size: 128 * 1024, share: 1 / 4 },
];
/** Handed out beyond those shares, while the memory budget has room. */
const usual = 64 * 1024;
/** Handed out when the budget is exhausted, so that no reader waits for a stalled one. */
const smallest = 8 * 1024;
/** Idle buffers kept for reuse, so that small answers allocate none. */
const maxIdlePairs = 4;

/**
 * Read buffers from the memory budget: 512 KiB each for few readers, down to 64 KiB for many, and 8 KiB when the budget is exhausted. So
 * their memory is bounded by the budget plus 16 KiB for each further reader, independent of blob sizes.
 */
export class ReadBuffers {
  readonly #memory: Memory;
  readonly #idle = new Map<number, Buffer[]>(
    [...sizes.map(({ size }) => size), usual, smallest].map((size) => [size, []]),
  );
  #usedBytes = 0;

  constructor({ memory }: { readonly memory: Memory }) {
    this.#memory = memory;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** @param wantedBytes a small answer needs no large buffers. */
  take(wantedBytes: number): BufferPair {
    const { size, reservation } = this.#reserve(wantedBytes);
    this.#usedBytes += 2 * size;
    const buffers = [this.#bufferOf(size), this.#bufferOf(size)] as const;
    let isUsed = true;
    const discard = () => {
      if (isUsed) this.#usedBytes -= 2 * size;
      reservation.release();
      isUsed = false;
    };
    const release = () => {
      if (isUsed) this.#keepIdle(size, buffers);
      discard();
    };
    return { buffers, release, discard };
  }

  #keepIdle(size: number, buffers: readonly Buffer[]): void {
    const idle = this.#idle.get(size);
    if (idle && idle.length < 2 * maxIdlePairs) idle.push(...buffers);
  }

  #reserve(wantedBytes: number): { readonly size: number; readonly reservation: MemoryReservation } {
    const fits = ({ size, share }: { size: number; share: number }) =>
      size < 2 * wantedBytes && this.#usedBytes + 2 * size <= this.#memory.maxBytes * share;
    for (const size of [...sizes.filter(fits).map((one) => one.size), usual]) {
      const reservation = this.#memory.tryReserve(2 * size, { isOptional: true });
      if (reservation) return { size, reservation };
    }
    return { size: smallest, reservation: this.#memory.take(2 * smallest) };
  }

  #bufferOf(size: number): Buffer {
    return this.#idle.get(size)?.pop() ?? Buffer.allocUnsafeSlow(size);
  }
}
