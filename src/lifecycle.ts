/** Anything that holds sockets, timers or files while the process lives. */
export interface Part {
  readonly name: string;
  start(): Promise<void>;
  /** Finishes what is in progress. Once `signal` aborts it drops the rest. */
  stop(options: { signal: AbortSignal }): Promise<void>;
}

/** Lets what runs end within `deadlineMs`, or until `hurry` aborts, and drops the rest. */
export type StopAll = (deadlineMs: number, options?: { readonly hurry?: AbortSignal }) => Promise<void>;

/**
 * Starts parts in order. If one fails, stops those already started, last first, and rethrows.
 * @returns a function that stops them all, last started first.
 */
export async function startInOrder(parts: readonly Part[]): Promise<StopAll> {
  const started: Part[] = [];
  for (const part of parts) {
    try {
      await part.start();
      started.push(part);
    } catch (cause) {
      await stopLastFirst(started, AbortSignal.abort());
      throw new Error(`starting ${part.name}`, { cause });
    }
  }
  return (deadlineMs, { hurry } = {}) => {
    const deadline = AbortSignal.timeout(deadlineMs);
    return stopLastFirst(started.splice(0), hurry ? AbortSignal.any([deadline, hurry]) : deadline);
  };
}

/** Stops every part even when one of them fails. @throws AggregateError of all that failed. */
async function stopLastFirst(parts: readonly Part[], signal: AbortSignal): Promise<void> {
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
