import type { Memory, MemoryReservation } from '../ports/memory.ts';

interface Chunk {
  readonly buffer: Buffer;
  readonly reservation: MemoryReservation;
}

/** Size of one chunk of a window. Pieces are copied into chunks, so that many small ones take no more memory than their bytes. */
export const chunkBytes = 64 * 1024;

/**
 * A stretch of a blob in memory: bytes are appended at its end and dropped, a chunk at a time, from its start. Every chunk is reserved from
 * the memory budget.
 */
export class RelayWindow {
  readonly #memory: Memory;
  readonly #maxBytes: number;
  readonly #chunks: Chunk[] = [];
  #start: number;
  #end: number;

  constructor({
    from,
    memory,
    maxBytes,
  }: {
    readonly from: number;
    readonly memory: Memory;
    readonly maxBytes: number;
  }) {
    this.#start = from;
    this.#end = from;
    this.#memory = memory;
    this.#maxBytes = maxBytes;
  }

  /** Position of the window's first byte. */
  get start(): number {
    return this.#start;
  }

  /** Position behind the window's last byte. */
  get end(): number {
    return this.#end;
  }

  /** Position behind the chunk that is dropped next. */
  get frontEnd(): number {
    return Math.min(this.#start + chunkBytes, this.#end);
  }

  /** How many bytes can be appended without growing. */
  get capacity(): number {
    return this.#start + this.#chunks.length * chunkBytes - this.#end;
  }

  /** Adds a chunk if the window's own bound and the budget allow it. @returns whether it did. */
  tryGrow(): boolean {
    if ((this.#chunks.length + 1) * chunkBytes > this.#maxBytes) return false;
    const reservation = this.#memory.tryReserve(chunkBytes, { isOptional: true });
    if (reservation) this.#add(reservation);
    return reservation !== undefined;
  }

  /** Adds a chunk regardless of the bounds, for readers that have nothing left to read. */
  grow(): void {
    this.#add(this.#memory.take(chunkBytes));
  }

  /** Appends a copy of `piece`, which must fit into {@link capacity}. */
  append(piece: Uint8Array): void {
    for (let done = 0; done < piece.byteLength; ) {
      const offset = this.#end - this.#start;
      const chunk = this.#chunks[Math.floor(offset / chunkBytes)];
      if (!chunk) throw new Error('the relay window has no room for the appended bytes');
      const at = offset % chunkBytes;
      const part = piece.subarray(done, done + chunkBytes - at);
      chunk.buffer.set(part, at);
      done += part.byteLength;
      this.#end += part.byteLength;
    }
  }

  /** Copies bytes from `position` on, which must be in the window, into `into`. @returns how many bytes. */
  copy(into: Uint8Array, position: number): number {
    let copied = 0;
    for (const view of this.views(position, Math.min(this.#end, position + into.byteLength))) {
      into.set(view, copied);
      copied += view.byteLength;
    }
    return copied;
  }

  /** The bytes between two positions of the window, not copied. */
  *views(from: number, to: number): Iterable<Uint8Array> {
    for (let position = from; position < to; ) {
      const offset = position - this.#start;
      const chunk = this.#chunks[Math.floor(offset / chunkBytes)];
      if (!chunk) throw new Error('the requested bytes are not in the relay window');
      const at = offset % chunkBytes;
      const view = chunk.buffer.subarray(at, Math.min(chunkBytes, at + to - position));
      yield view;
      position += view.byteLength;
    }
  }

  /** Drops the first chunk. */
  dropFront(): void {
    const end = this.frontEnd;
    this.#chunks.shift()?.reservation.release();
    this.#start = end;
  }

  clear(): void {
    for (const { reservation } of this.#chunks.splice(0)) reservation.release();
    this.#start = this.#end;
  }

  #add(reservation: MemoryReservation): void {
    this.#chunks.push({ buffer: Buffer.allocUnsafeSlow(chunkBytes), reservation });
  }
}
