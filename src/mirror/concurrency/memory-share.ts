import type { Memory, MemoryReservation, MemoryUse, ReserveMemory } from '../ports.ts';
import { MemoryBudget } from './memory-budget.ts';

/**
 * A part of a memory budget, for those who must not keep it from others: together they never wait for, or hold, more of it than that.
 * What does not wait (optional uses, minimums) is not divided.
 */
export class MemoryShare implements Memory {
  readonly #whole: Memory;
  readonly #part: MemoryBudget;

  constructor(whole: Memory, part: number) {
    this.#whole = whole;
    this.#part = new MemoryBudget({ maxBytes: whole.maxBytes * part });
  }

  get maxBytes(): number {
    return this.#part.maxBytes;
  }

  get waiting(): number {
    return this.#part.waiting;
  }

  tryReserve(bytes: number, use?: MemoryUse): MemoryReservation | undefined {
    return this.#whole.tryReserve(bytes, use);
  }

  take(bytes: number): MemoryReservation {
    return this.#whole.take(bytes);
  }

  async reserve(bytes: number, options: ReserveMemory): Promise<MemoryReservation> {
    const ofPart = await this.#part.reserve(bytes, options);
    try {
      return bothOf(ofPart, await this.#whole.reserve(bytes, options));
    } catch (cause) {
      ofPart.release();
      throw cause;
    }
  }
}

/** A share of equal size for each name, made when it is first asked for. The names come from the configuration. */
export function sharesByName(whole: Memory, part: number): (name: string) => Memory {
  const shares = new Map<string, Memory>();
  return (name) => {
    const share = shares.get(name) ?? new MemoryShare(whole, part);
    shares.set(name, share);
    return share;
  };
}

function bothOf(ofPart: MemoryReservation, ofWhole: MemoryReservation): MemoryReservation {
  return {
    get bytes() {
      return ofWhole.bytes;
    },
    tryResize: (bytes) => ofWhole.tryResize(bytes),
    release: () => {
      ofWhole.release();
      ofPart.release();
    },
  };
}
