/** Anything that holds sockets, timers or files while the process lives. */
export interface Part {
  readonly name: string;
  start(): Promise<void>;
  /** Finishes what is in progress. Once `signal` aborts it drops the rest. */
  stop(options: { signal: AbortSignal }): Promise<void>;
}

/**
 * Starts parts in order. If one fails, stops those already started, last first, and rethrows.
 * @returns a function that stops them all, last started first, within `deadlineMs`.
 */
export async function startInOrder(parts: readonly Part[]): Promise<(deadlineMs: number) => Promise<void>> {
  const started: Part[] = [];
  for (const part of parts) {
    try {
      await part.start();
      started.push(part);
    } catch (cause) {
      await stopLastFirst(started, 0);
      throw new Error(`starting ${part.name}`, { cause });
    }
  }
  return (deadlineMs) => stopLastFirst(started.splice(0), deadlineMs);
}

/** Stops every part even when one of them fails. @throws AggregateError of all that failed. */
async function stopLastFirst(parts: readonly Part[], deadlineMs: number): Promise<void> {
  const signal = AbortSignal.timeout(deadlineMs);
  const failures: unknown[] = [];
  for (const part of parts.toReversed()) {
    try {
      await part.stop({ signal });
    } catch (cause) {
      failures.push(new Error(`stopping ${part.name}`, { cause }));
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, 'some parts did not stop cleanly');
}
