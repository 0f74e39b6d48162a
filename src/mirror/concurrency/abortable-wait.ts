/** Watches for what ends a wait early, calling `giveUp` with the reason, perhaps at once. @returns what stops watching. */
export type Interruption = (giveUp: (reason: unknown) => void) => () => void;

/**
 * Settles as `work` does, or rejects with the reason of the interruption if that comes first. The work goes on then, and has its handler:
 * it is subscribed to before anything else can happen, so that a failure nobody waits for any more never counts as unhandled.
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

/** Settles as `work` does, or rejects with the signal's reason if that comes first, also where it came before. */
export function abortable<Value>(work: PromiseLike<Value>, signal: AbortSignal): Promise<Value> {
  return interruptible(work, (giveUp) => {
    const leave = (): void => giveUp(signal.reason);
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
    return () => signal.removeEventListener('abort', leave);
  });
}

/** Settles as `work` does, or rejects with what `late` makes after `withinMs`. */
export function timeLimited<Value>(work: PromiseLike<Value>, withinMs: number, late: () => Error): Promise<Value> {
  return interruptible(work, (giveUp) => {
    const timer = setTimeout(() => giveUp(late()), withinMs);
    return () => clearTimeout(timer);
  });
}

/** Settles as `work` does, or rejects with what `late` makes where it has not within `graceMs` after the signal aborted. */
export function abortableAfter<Value>(
  work: PromiseLike<Value>,
  signal: AbortSignal,
  { graceMs, late }: { readonly graceMs: number; readonly late: () => Error },
): Promise<Value> {
  return interruptible(work, (giveUp) => {
    let timer: NodeJS.Timeout | undefined;
    const hurry = (): void => {
      timer = setTimeout(() => giveUp(late()), graceMs);
    };
    if (signal.aborted) hurry();
    else signal.addEventListener('abort', hurry, { once: true });
    return () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', hurry);
    };
  });
}
