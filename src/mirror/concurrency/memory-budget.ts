import { UpstreamError } from '../../oci/errors.ts';
import type { Memory, MemoryReservation, MemoryUse, ReserveMemory } from '../ports/memory.ts';
import type { Waiting } from '../ports/waiting.ts';

export interface MemoryBudgetOptions {
  readonly maxBytes: number;
  /** How many may wait at the same time; further ones are refused. */
  readonly maxWaiting?: number;
}

type Kind = 'optional' | 'needed' | 'minimum';

interface Waiter {
  readonly bytes: number;
  readonly grant: (reservation: MemoryReservation) => void;
}

/** The part of the budget that optional uses may fill. */
const optionalShare = 1 / 2;
const defaultMaxWaiting = 10_000;
/** In a longer line the last waiter and the first are served in turn. */
const longLine = 16;
const retryAfterSeconds = 2;
/** Anything up to this size is loaded without a reservation: the number of requests bounds it. */
const smallBytes = 64 * 1024;

/**
 * One budget over all memory for bytes in flight. Uses come in three kinds:
 *
 *     optional   tryReserve(…, { isOptional: true })   caches and large buffers: at most half of the budget
 *     needed     tryReserve, reserve                   bodies in memory; `reserve` waits in line
 *     minimum    take                                  the least that running work needs so that none blocks another: always granted,
 *                                                      and counted, so that optional uses get less
 *
 * While anything waits, no other reservation is granted before it. Half of the budget is kept for needed uses, and when none is held, one
 * is granted however large it is: so the line always moves on. A short line is served in order. In a long line the first and the last
 * waiter are served in turn: behind hundreds of clients that have stalled, a new one would otherwise wait beyond the request deadline.
 */
export class MemoryBudget implements Memory {
  readonly maxBytes: number;
  readonly #maxWaiting: number;
  /** Two lines, served in this order: waiters whose bytes are in memory already, and waiters that have yet to load them. */
  readonly #loaded = new Set<Waiter>();
  readonly #toLoad = new Set<Waiter>();
  /** Whether the last waiter of a long line is served next. */
  #isLastNext = false;
  #reservedBytes = 0;
  #neededBytes = 0;

  constructor({ maxBytes, maxWaiting = defaultMaxWaiting }: MemoryBudgetOptions) {
    this.maxBytes = maxBytes;
    this.#maxWaiting = maxWaiting;
  }

  get reservedBytes(): number {
    return this.#reservedBytes;
  }

  /** How many wait for memory. */
  get waiting(): number {
    return this.#loaded.size + this.#toLoad.size;
  }

  tryReserve(bytes: number, use: MemoryUse = {}): MemoryReservation | undefined {
    const kind = use.isOptional ? 'optional' : 'needed';
    return this.#hasRoomFor(bytes, kind) ? this.#reservation(bytes, kind) : undefined;
  }

  take(bytes: number): MemoryReservation {
    return this.#reservation(bytes, 'minimum');
  }

  async reserve(bytes: number, { signal, isLoaded = false }: ReserveMemory): Promise<MemoryReservation> {
    signal.throwIfAborted();
    const needed = Math.min(bytes, this.maxBytes);
    const line = isLoaded ? this.#loaded : this.#toLoad;
    const isNext = isLoaded ? this.#loaded.size === 0 : this.waiting === 0;
    if (isNext && this.#fits(needed)) return this.#reservation(needed, 'needed');
    if (this.waiting >= this.#maxWaiting)
      throw new UpstreamError('busy', 'too many requests wait for memory', { retryAfterSeconds });
    return new Promise((resolve, reject) => {
      const leave = () => {
        line.delete(waiter);
        this.#grantNext();
        reject(signal.reason);
      };
      const grant = (reservation: MemoryReservation) => {
        signal.removeEventListener('abort', leave);
        resolve(reservation);
      };
      const waiter: Waiter = { bytes: needed, grant };
      line.add(waiter);
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  #hasRoomFor(moreBytes: number, kind: Kind): boolean {
    if (moreBytes <= 0) return true;
    const share = kind === 'optional' ? optionalShare : 1;
    return this.waiting === 0 && this.#reservedBytes + moreBytes <= this.maxBytes * share;
  }

  #fits(bytes: number): boolean {
    if (this.#reservedBytes + bytes <= this.maxBytes || this.#neededBytes === 0) return true;
    return this.#neededBytes + bytes <= this.maxBytes * (1 - optionalShare);
  }

  #reservation(initialBytes: number, kind: Kind): MemoryReservation {
    let held = initialBytes;
    const resizeTo = (bytes: number): void => {
      this.#reservedBytes += bytes - held;
      if (kind === 'needed') this.#neededBytes += bytes - held;
      const isLess = bytes < held;
      held = bytes;
      if (isLess) this.#grantNext();
    };
    let isReleased = false;
    const canResize = (bytes: number): boolean => !isReleased && this.#hasRoomFor(bytes - held, kind);
    this.#reservedBytes += initialBytes;
    if (kind === 'needed') this.#neededBytes += initialBytes;
    return {
      get bytes() {
        return held;
      },
      tryResize: (bytes) => {
        if (!canResize(bytes)) return false;
        resizeTo(bytes);
        return true;
      },
      canResize,
      release: () => {
        if (!isReleased) resizeTo(0);
        isReleased = true;
      },
    };
  }

  #grantNext(): void {
    for (const line of [this.#loaded, this.#toLoad]) {
      for (let waiter = this.#nextOf(line); waiter; waiter = this.#nextOf(line)) {
        if (!this.#fits(waiter.bytes)) return;
        line.delete(waiter);
        this.#isLastNext = !this.#isLastNext;
        waiter.grant(this.#reservation(waiter.bytes, 'needed'));
      }
    }
  }

  #nextOf(line: ReadonlySet<Waiter>): Waiter | undefined {
    if (this.#isLastNext && line.size > longLine) return [...line].at(-1);
    const [first] = line;
    return first;
  }
}

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
    canResize: (bytes) => ofWhole.canResize(bytes),
    release: () => {
      ofWhole.release();
      ofPart.release();
    },
  };
}

/**
 * Loads something of `bytes` bytes once the memory budget has room for it. The reservation ends in the turn of the event loop after loading:
 * by then the caller must have a reservation of its own.
 * @throws UpstreamError busy when too many wait for memory; the signal's reason when it aborts; what `load` throws.
 */
export async function loadWithin<Value>(
  memory: Memory,
  bytes: number,
  waiting: Waiting,
  load: () => Promise<Value>,
): Promise<Value> {
  if (bytes <= smallBytes) return load();
  const reservation = await memory.reserve(bytes, waiting);
  try {
    return await load();
  } finally {
    setImmediate(() => reservation.release());
  }
}
