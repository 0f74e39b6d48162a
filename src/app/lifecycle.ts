import { setTimeout as sleep } from 'node:timers/promises';
import { abortable, abortableAfter } from '../mirror/concurrency/abortable-wait.ts';

export interface StopOptions {
  /** Aborts when work in progress must be dropped. */
  readonly signal: AbortSignal;
  /** Whether every part that was stopped before has ended. One that has not may still use this part. */
  readonly othersEnded: boolean;
}

/** A part of the program that holds sockets, timers or files. */
export interface Part {
  readonly name: string;
  start(): Promise<void>;
  /** Finishes the work in progress. Once the signal aborts it must drop the rest; a part that does not end soon after that is abandoned. */
  stop(options: StopOptions): Promise<void>;
}

/** A part made of the given functions; a missing one does nothing. */
export function partOf(name: string, work: Partial<Pick<Part, 'start' | 'stop'>>): Part {
  return { name, start: async () => {}, stop: async () => {}, ...work };
}

/**
 * Lets work in progress end within `deadlineMs`, or until `force` aborts, and drops the rest.
 * @throws AggregateError of all parts that failed to stop, or did not end soon after the deadline.
 */
export type StopAll = (deadlineMs: number, options?: { readonly force?: AbortSignal }) => Promise<void>;

export interface StartOptions {
  /** Cancels the start. */
  readonly signal?: AbortSignal;
  /** How long a part may take to drop its work. After each part that takes longer, it is halved. */
  readonly graceMs?: number;
}

/** A part could not be started. The cause says why. */
export class StartFailure extends Error {
  override readonly name = 'StartFailure';
  /** Failures to stop the parts that had been started before. */
  readonly stopFailures: readonly Error[];

  constructor(part: string, { cause, stopFailures }: { cause: unknown; stopFailures: readonly Error[] }) {
    super(`starting ${part}`, { cause });
    this.stopFailures = stopFailures;
  }
}

const defaultGraceMs = 1_000;

/**
 * Starts parts in order. If one fails, or the signal aborts, stops those already started, last first.
 * @returns a function that stops them all, last started first.
 * @throws StartFailure
 */
export async function startInOrder(
  parts: readonly Part[],
  { signal = new AbortController().signal, graceMs = defaultGraceMs }: StartOptions = {},
): Promise<StopAll> {
  const started: Part[] = [];
  for (const part of parts) {
    try {
      await abortable(part.start(), signal);
      started.push(part);
    } catch (cause) {
      const stopFailures = await stopLastFirst(started, { signal: AbortSignal.abort(), graceMs });
      throw new StartFailure(part.name, { cause, stopFailures });
    }
  }
  return async (deadlineMs, { force } = {}) => {
    const deadline = AbortSignal.timeout(deadlineMs);
    const stopping = force ? AbortSignal.any([deadline, force]) : deadline;
    const failures = await stopLastFirst(started.splice(0), { signal: stopping, graceMs });
    if (failures.length > 0) throw new AggregateError(failures, wordsFor(failures));
  };
}

export interface DrainTimes {
  /** How long it keeps serving while it reports "not ready", so that load balancers notice. */
  readonly preStopMs: number;
  /** How long pulls in progress may continue after that. */
  readonly drainMs: number;
}

/**
 * Stops a running mirror: it serves on for the pre-stop time, then running work has until the deadline.
 * @param options.force ends all waiting: a second signal.
 */
export async function drain(
  stop: StopAll,
  { preStopMs, drainMs }: DrainTimes,
  { force }: { readonly force: AbortSignal },
): Promise<void> {
  await sleep(preStopMs, undefined, { signal: force }).catch(() => {}); // Force only ends the sleep early.
  await stop(drainMs, { force });
}

/** Stops every part, also when one of them fails or hangs. */
async function stopLastFirst(
  parts: readonly Part[],
  { signal, graceMs }: { readonly signal: AbortSignal; readonly graceMs: number },
): Promise<readonly Error[]> {
  const failures: Error[] = [];
  let leftMs = graceMs;
  const late = () => {
    const error = new Error(`it did not end within ${leftMs} ms after the deadline`);
    leftMs /= 2;
    return error;
  };
  for (const part of parts.toReversed()) {
    const stopping = Promise.try(() => part.stop({ signal, othersEnded: failures.length === 0 }));
    try {
      await abortableAfter(stopping, signal, { graceMs: leftMs, late });
    } catch (cause) {
      failures.push(new Error(`stopping ${part.name}`, { cause }));
    }
  }
  return failures;
}

function wordsFor(failures: readonly Error[]): string {
  const reasons = failures.map(
    ({ message, cause }) => `${message}: ${cause instanceof Error ? cause.message : String(cause)}`,
  );
  return `some parts did not stop cleanly: ${reasons.join('; ')}`;
}
