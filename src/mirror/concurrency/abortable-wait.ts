/** Calls `giveUp` with the reason when the wait must end early; it may do so at once. @returns a function that stops watching. */
export type Interruption = (giveUp: (reason: unknown) => void) => () => void;

/**
 * Settles as `work` does, or rejects with the reason of the interruption if that comes first. `work` then goes on. Its handlers are attached
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
