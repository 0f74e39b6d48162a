/** Somebody who waits for the headers of an answer. */
export interface Impatient {
  /** On the clock of `performance.now()`. */
  readonly startedAt: number;
  /** Patience has run out. */
  giveUp(): void;
}

/** containerd gives up on an answer whose headers take 30 s (containerd #13164): until then it must know where it stands. */
const maxPatienceMs = 25_000;

/**
 * Ends the waiting of all who have waited too long. All have the same patience, so who came first gives up first, and one timer is enough
 * for all: one for each request would be paid for by every hit.
 */
export class Patience {
  readonly #patienceMs: number;
  /** In the order in which they came. */
  readonly #waiting = new Set<Impatient>();
  #timer: NodeJS.Timeout | undefined;

  constructor({ patienceMs = maxPatienceMs }: { readonly patienceMs?: number | undefined } = {}) {
    this.#patienceMs = patienceMs;
  }

  begin(waiter: Impatient): void {
    this.#waiting.add(waiter);
    if (!this.#timer) this.#wakeIn(this.#patienceMs);
  }

  end(waiter: Impatient): void {
    this.#waiting.delete(waiter);
  }

  #wakeIn(delayMs: number): void {
    this.#timer = setTimeout(() => this.#endOverdue(), delayMs).unref();
  }

  #endOverdue(): void {
    this.#timer = undefined;
    for (const waiter of this.#waiting) {
      const leftMs = waiter.startedAt + this.#patienceMs - performance.now();
      if (leftMs > 0) return this.#wakeIn(Math.ceil(leftMs));
      this.#waiting.delete(waiter);
      waiter.giveUp();
    }
  }
}
