/** Calls `giveUp` with the reason when the wait must end early; it may do so at once. @returns a function that stops watching. */
export type Interruption = (giveUp: (reason: unknown) => void) => () => void;

/**
 * Settles as `work` does, or rejects with the reason of the interruption if that comes first. `work` then keeps running. Its handlers are attached
 * first, so that its failure never becomes an unhandled rejection.
 */
export function interruptible<Value>(work: PromiseLike<Value>, watch: Interruption): Promise<Value> {
  return new Promise((resolve, reject) => {
    let stopWatching: (() => void) | undefined;
    let isOver = false;
    const end = (): void => {
      isOver = true;
      stopWatching?.();
    };
    work.then(
      (value) => {
        end();
        resolve(value);
      },
      (cause: unknown) => {
        end();
        reject(cause);
      },
    );
    stopWatching = watch((reason) => {
      end();
      reject(reason);
    });
    if (isOver) stopWatching();
  });
}

/** Settles as `work` does, or rejects with the signal's reason if the signal aborts first or is aborted already. */
export function abortable<Value>(work: PromiseLike<Value>, signal: AbortSignal): Promise<Value> {
  return interruptible(work, (giveUp) => {
    const leave = (): void => giveUp(signal.reason);
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
    return () => signal.removeEventListener('abort', leave);
  });
}

/** Settles as `work` does, or rejects with the error of `late` after `withinMs`. */
export function timeLimited<Value>(work: PromiseLike<Value>, withinMs: number, late: () => Error): Promise<Value> {
  return interruptible(work, (giveUp) => {
    const timer = setTimeout(() => giveUp(late()), withinMs);
    return () => clearTimeout(timer);
  });
}

/** Settles as `work` does, or rejects with the error of `late` if it has not settled `graceMs` after the signal aborted. */
export function abortableAfter<Value>(
  work: PromiseLike<Value>,
  signal: AbortSignal,
  { graceMs, late }: { readonly graceMs: number; readonly late: () => Error },
): Promise<Value> {
  return interruptible(work, (giveUp) => {
    let timer: NodeJS.Timeout | undefined;
    const beginGrace = (): void => {
      timer = setTimeout(() => giveUp(late()), graceMs);
    };
    if (signal.aborted) beginGrace();
    else signal.addEventListener('abort', beginGrace, { once: true });
    return () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', beginGrace);
    };
  });
}

/** A disk under load takes less for one step. */
const stepWithinMs = 5_000;

/** How many such times work of several steps may take, if each brings progress: its client must have an answer in 25 s. */
const mostTimes = 2;

/** A step of the store took too long. It may still end. */
export class StoreHangs extends Error {
  override readonly name = 'StoreHangs';

  constructor(times = 1) {
    super(`the store did not answer within ${(times * stepWithinMs) / 1000} s`);
  }
}

/** A slow disk syncs a large blob for longer. Each such blob holds a file, and perhaps a thread. */
const mostLateEnds = 4;

/**
 * Watches whether steps of the store hang. While they do, no download begins one: blobs are served without being stored. So no more steps
 * hang than there are slots for downloads, and a few.
 */
export class StoreWatch {
  #lateSteps = 0;
  /** How many steps have ended that others wait for. */
  #ended = 0;
  #lateEnds = 0;

  /** Whether a step that took too long has not ended yet, or the ends of several downloads. */
  get hangs(): boolean {
    return this.#lateSteps > 0 || this.#lateEnds >= mostLateEnds;
  }

  /**
   * Waits for a step of the store, but not for long.
   * @param undo gets what the step has made, if that comes too late. @throws what the step throws; StoreHangs when it takes too long.
   */
  inTime<Made>(step: Promise<Made>, undo: (made: Made) => unknown = () => {}, most = 1): Promise<Made> {
    let isLate = false;
    const late = (times: number): Error => {
      isLate = true;
      this.#lateSteps += 1;
      return new StoreHangs(times);
    };
    step
      .then((made) => (isLate ? undo(made) : undefined))
      .catch(() => {}) // Its caller handles the failure, or was told that it took too long.
      .finally(() => isLate && (this.#lateSteps -= 1));
    return interruptible(step, (giveUp) => this.#withoutProgress((times) => giveUp(late(times)), most));
  }

  /** As {@link inTime}, for work of several steps: up to 10 s, if there is {@link progressed} in the first five. */
  whileProgressing<Made>(work: Promise<Made>, undo: (made: Made) => unknown): Promise<Made> {
    return this.inTime(work, undo, mostTimes);
  }

  /** To be called when a step of such work has ended. */
  progressed(): void {
    this.#ended += 1;
  }

  /** Calls back once there was no progress for one time, or after the most. @returns a function that stops watching. */
  #withoutProgress(callBack: (times: number) => void, most: number, times = 1): () => void {
    const before = this.#ended;
    let stop = (): void => clearTimeout(timer);
    const timer = setTimeout(() => {
      if (this.#ended === before || times === most) callBack(times);
      else stop = this.#withoutProgress(callBack, most, times + 1);
    }, stepWithinMs);
    return () => stop();
  }

  /** Waits for a step that nobody needs to have ended, but not for long. Never rejects: `report` gets its failure. */
  async unlessLate(step: PromiseLike<void>, report: (cause: unknown) => void): Promise<void> {
    await this.inTime(Promise.resolve(step)).catch(report);
  }

  /** Waits for the end of a download, however long: what keeps its blob. @param onLate called if that takes too long. */
  async outlast<Made>(end: Promise<Made>, onLate: () => void): Promise<Made> {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      this.#lateEnds += 1;
      onLate();
    }, stepWithinMs).unref();
    try {
      return await end;
    } finally {
      clearTimeout(timer);
      if (isLate) this.#lateEnds -= 1;
    }
  }
}

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

export interface RateWatchOptions {
  /** The least that must arrive in a window. */
  readonly leastBytes: number;
  /** Of the time in which the reader waits for bytes. */
  readonly windowMs: number;
  /** Called with the bytes of a window that brought less. */
  readonly onSlow: (bytes: number) => void;
}

/** Watches the rate of a transfer over the time in which its reader waits for bytes: pauses of the reader do not count, however short or many. */
export class RateWatch {
  readonly #options: RateWatchOptions;
  #bytes = 0;
  #waitedMs = 0;
  #sinceMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: RateWatchOptions) {
    this.#options = options;
  }

  received(bytes: number): void {
    this.#bytes += bytes;
  }

  /** The reader waits for bytes from now on. */
  waits(): void {
    if (this.#timer) return;
    this.#sinceMs = performance.now();
    this.#timer = setTimeout(() => this.#endWindow(), Math.max(0, this.#options.windowMs - this.#waitedMs));
  }

  /** The reader has enough, or the transfer has ended. */
  pauses(): void {
    if (!this.#timer) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waitedMs += performance.now() - this.#sinceMs;
  }

  #endWindow(): void {
    const bytes = this.#bytes;
    [this.#bytes, this.#waitedMs, this.#timer] = [0, 0, undefined];
    if (bytes < this.#options.leastBytes) this.#options.onSlow(bytes);
    else this.waits();
  }
}
