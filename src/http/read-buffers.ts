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
/** Lent whatever the budget says. */
const smallest = 64 * 1024;
/** Buffers kept for the next reader, so that a stream of small answers allocates nothing. */
const maxIdlePairs = 4;

/**
 * Buffers for all readers out of one budget: 512 KiB each while few read, shrinking to 64 KiB when many do.
 * Memory is so bounded by the budget (and 128 KiB for each reader beyond it), never by what is read.
 */
export class ReadBuffers {
  readonly #budgetBytes: number;
  readonly #idle = new Map<number, Buffer[]>([...sizes.map(({ size }) => size), smallest].map((size) => [size, []]));
  #lentBytes = 0;

  constructor({ budgetBytes }: { budgetBytes: number }) {
    this.#budgetBytes = budgetBytes;
  }

  get lentBytes(): number {
    return this.#lentBytes;
  }

  /** @param wantedBytes a small answer needs no large buffers. */
  lend(wantedBytes: number): BufferPair {
    const size = this.#sizeFor(wantedBytes);
    this.#lentBytes += 2 * size;
    const buffers = [this.#take(size), this.#take(size)] as const;
    let isLent = true;
    const discard = () => {
      if (isLent) this.#lentBytes -= 2 * size;
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

  #sizeFor(wantedBytes: number): number {
    const budgetBytes = this.#budgetBytes;
    const fits = ({ size, share }: { size: number; share: number }) =>
      size < 2 * wantedBytes && this.#lentBytes + 2 * size <= budgetBytes * share;
    return sizes.find(fits)?.size ?? smallest;
  }

  #take(size: number): Buffer {
    return this.#idle.get(size)?.pop() ?? Buffer.allocUnsafeSlow(size);
  }
}
