/** Readers that keep up are woken for about this much at a time: every turn of theirs costs two calls of the kernel. */
const wakeBytes = 1024 * 1024;
/** What has waited this long is told though it is little, so that readers of a slow upstream see it. */
const maxDelayMs = 5;

/** Readers that wait for a download to get on. */
export class Sleepers {
  #asleep: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #wokenAtBytes = 0;
  #bytes = 0;

  /** Resolves when there may be more to read, or the signal aborts. */
  sleep(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        signal.removeEventListener('abort', wake);
        resolve();
      };
      signal.addEventListener('abort', wake, { once: true });
      this.#asleep.push(wake);
    });
  }

  /** So much can be read by now: wakes them at once for the first bytes and for many, a moment later for few. */
  progressed(bytes: number): void {
    this.#bytes = bytes;
    if (this.#wokenAtBytes === 0 || bytes - this.#wokenAtBytes >= wakeBytes) this.wake();
    else this.#timer ??= setTimeout(() => this.wake(), maxDelayMs);
  }

  wake(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#wokenAtBytes = this.#bytes;
    for (const wake of this.#asleep.splice(0)) wake();
  }
}
