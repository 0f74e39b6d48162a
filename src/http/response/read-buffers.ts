import type { Memory, MemoryReservation } from '../../mirror/ports/memory.ts';

/** A pair of buffers to read into by turns: while one is on its way to the socket, the other is filled. */
export interface BufferPair {
  readonly buffers: readonly [Buffer, Buffer];
  /** For the next reader. Nobody may look at them any more. */
  release(): void;
  /** For nobody: a socket that was cut may still send from them. */
  discard(): void;
}

/** Sizes, and the part of the budget up to which each is lent: two readers have the largest, what several read must stay in the processor's caches. */
const sizes: readonly { readonly size: number; readonly share: number }[] = [
  { size: 512 * 1024, share: 1 / 64 },
  { size: 256 * 1024, share: 1 / 8 },
  { size: 128 * 1024, share: 1 / 4 },
];
/** Lent while the memory budget has room, whatever the share … */
const usual = 64 * 1024;
/** … and this when it has none: every reader has a pair, so that none waits for another that has stalled. */
const smallest = 8 * 1024;
/** Buffers kept for the next reader, so that a stream of small answers allocates nothing. */
const maxIdlePairs = 4;

/**
 * Buffers for all readers out of the memory budget: 512 KiB each while few read, shrinking to 64 KiB when many do, and to 8 KiB when
 * the budget has no room. Memory is so bounded by the budget (and 16 KiB for each reader beyond it, which counts too), never by what is
 * read.
 */
export class ReadBuffers {
  readonly #memory: Memory;
  readonly #idle = new Map<number, Buffer[]>(
    [...sizes.map(({ size }) => size), usual, smallest].map((size) => [size, []]),
  );
  #lentBytes = 0;

  constructor({ memory }: { readonly memory: Memory }) {
    this.#memory = memory;
  }

  get lentBytes(): number {
    return this.#lentBytes;
  }

  /** @param wantedBytes a small answer needs no large buffers. */
  lend(wantedBytes: number): BufferPair {
    const { size, reservation } = this.#reserve(wantedBytes);
    this.#lentBytes += 2 * size;
    const buffers = [this.#take(size), this.#take(size)] as const;
    let isLent = true;
    const discard = () => {
      if (isLent) this.#lentBytes -= 2 * size;
      reservation.release();
      isLent = false;
    };
    const release = () => {
      if (isLent) this.#keepIdle(size, buffers);
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
      size < 2 * wantedBytes && this.#lentBytes + 2 * size <= this.#memory.maxBytes * share;
    for (const size of [...sizes.filter(fits).map((one) => one.size), usual]) {
      const reservation = this.#memory.tryReserve(2 * size, { isOptional: true });
      if (reservation) return { size, reservation };
    }
    return { size: smallest, reservation: this.#memory.take(2 * smallest) };
  }

  #take(size: number): Buffer {
    return this.#idle.get(size)?.pop() ?? Buffer.allocUnsafeSlow(size);
  }
}
