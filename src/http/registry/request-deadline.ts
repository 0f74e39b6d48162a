/** A request whose answer has no headers yet. */
export interface Deadlined {
  /** On the clock of `performance.now()`. */
  readonly startedAt: number;
  /** The deadline has passed. */
  giveUp(): void;
}

/** containerd gives up when headers take longer than 30 s (containerd #13164): it must have an answer, or an error, before. */
const requestDeadlineMs = 25_000;

/**
 * Ends every request that has no headers within the deadline. All requests have the same deadline, so the oldest is always the next to
 * expire, and one timer serves all: a timer for each request would add to the cost of every hit.
 */
export class RequestDeadline {
  readonly #deadlineMs: number;
  /** Oldest first. */
  readonly #waiting = new Set<Deadlined>();
  #timer: NodeJS.Timeout | undefined;

  constructor({ deadlineMs = requestDeadlineMs }: { readonly deadlineMs?: number | undefined } = {}) {
    this.#deadlineMs = deadlineMs;
  }

  begin(request: Deadlined): void {
    this.#waiting.add(request);
    if (!this.#timer) this.#checkIn(this.#deadlineMs);
  }

  end(request: Deadlined): void {
    this.#waiting.delete(request);
  }

  #checkIn(delayMs: number): void {
    this.#timer = setTimeout(() => this.#endOverdue(), delayMs).unref();
  }

  #endOverdue(): void {
    this.#timer = undefined;
    for (const request of this.#waiting) {
      const leftMs = request.startedAt + this.#deadlineMs - performance.now();
      if (leftMs > 0) return this.#checkIn(Math.ceil(leftMs));
      this.#waiting.delete(request);
      request.giveUp();
    }
  }
}
