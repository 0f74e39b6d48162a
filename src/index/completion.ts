import { abortable } from '../mirror/concurrency/abortable-wait.ts';

/** Something that is reached, and may be waited for until then. */
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

  /** It was lost, and must be reached again. */
  reset(): void {
    this.#isReached = false;
  }

  /** @throws the signal's reason when it aborts before. */
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
