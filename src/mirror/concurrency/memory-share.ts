import type { Memory, MemoryReservation, MemoryUse, ReserveMemory } from '../ports/memory.ts';
import { MemoryBudget } from './memory-budget.ts';

/**
 * A share of a memory budget, for uses that must leave the rest to others: together their reservations never exceed the share. Optional and
 * minimum uses, which do not wait, are taken from the whole budget.
 */
export class MemoryShare implements Memory {
  readonly #whole: Memory;
  readonly #part: MemoryBudget;
  readonly #guaranteesOne: boolean;

  /** @param options.guaranteesOne when `whole` is a share too: the only reservation in this share does not wait for those in its siblings. */
  constructor(whole: Memory, part: number, { guaranteesOne = false }: { readonly guaranteesOne?: boolean } = {}) {
    this.#whole = whole;
    this.#part = new MemoryBudget({ maxBytes: whole.maxBytes * part });
    this.#guaranteesOne = guaranteesOne;
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
    const atOnce = options.isGuaranteed ? (this.#part.tryReserve(bytes) ?? this.#part.take(bytes)) : undefined;
    const ofPart = atOnce ?? (await this.#part.reserve(bytes, options));
    try {
      const isGuaranteed = this.#guaranteesOne && this.#part.reservedBytes === ofPart.bytes;
      return bothOf(ofPart, await this.#whole.reserve(bytes, { ...options, isGuaranteed }));
    } catch (cause) {
      ofPart.release();
      throw cause;
    }
  }
}

/**
 * A share of equal size for each name, made when it is first asked for. The names come from the configuration. A few names together may hold
 * all of `whole`; one reservation at a time of every other name is granted regardless.
 */
export function sharesByName(whole: Memory, part: number): (name: string) => Memory {
  const shares = new Map<string, Memory>();
  return (name) => {
    const share = shares.get(name) ?? new MemoryShare(whole, part, { guaranteesOne: true });
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
