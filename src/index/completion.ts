import { abortable } from '../mirror/concurrency/abortable-wait.ts';

/** A state that is reached once, until it is reset. Callers can wait for it. */
export class Completion {
  readonly #waiting = new Set<() => void>();
  #isReached = false;

  get isReached(): boolean {
    return this.#isReached;
  }

  reach(): void {
    this.#isReached = true;
    for (const resume of this.#waiting) resume();
  }

  /** The state no longer holds: callers wait again. */
  reset(): void {
    this.#isReached = false;
  }

  /** @throws the signal's reason when it aborts first. */
  async wait(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#isReached) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.add(resolve);
    try {
      await abortable(promise, signal);
    } finally {
      this.#waiting.delete(resolve);
    }
  }
}
