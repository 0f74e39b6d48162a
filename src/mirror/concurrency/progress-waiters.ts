/** Readers that keep up are woken once for about this much: each time they run costs two system calls. */
const wakeBytes = 1024 * 1024;
/** After this long they are woken for less, so that clients of a slow upstream get the bytes as they arrive. */
const maxDelayMs = 5;

/** The readers that wait for more bytes of a download. */
export class ProgressWaiters {
  readonly #waiting: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #wokenAtBytes = 0;
  #bytes = 0;

  /** Resolves when there may be more to read, or the signal aborts. */
  wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        signal.removeEventListener('abort', wake);
        resolve();
      };
      signal.addEventListener('abort', wake, { once: true });
      this.#waiting.push(wake);
    });
  }

  /** @param bytes how many can be read now. The first bytes, and many more than last time, wake the readers at once; few more, a moment later. */
  progressed(bytes: number): void {
    this.#bytes = bytes;
    if (this.#wokenAtBytes === 0 || bytes - this.#wokenAtBytes >= wakeBytes) this.wake();
    else this.#timer ??= setTimeout(() => this.wake(), maxDelayMs);
  }

  wake(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#wokenAtBytes = this.#bytes;
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
