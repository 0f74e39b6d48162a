import { setTimeout as sleep } from 'node:timers/promises';
import { abortable } from '../../mirror/concurrency/abortable-wait.ts';
import { type Job, job as jobSchema, jobSummary } from '../../http/management/api/jobs-routes.ts';
import type { JsonObject } from '../../oci/json.ts';
import { answerAs, type Api, ApiFailure, exitCodes, printable } from '../api/client.ts';

export interface FollowOptions {
  /** Cancels the job. */
  readonly stop: AbortSignal;
  readonly onProgress: (job: Job) => void;
  /** For tests. */
  readonly pauseMs?: number;
}

/** The exit code of a command that a signal has ended: 128 and the number of SIGINT. */
const interrupted = 130;

const usualPauseMs = 500;
/** A mirror that does not answer for a moment may only be busy. */
const attempts = 5;
/** While as many jobs run as may, one that ends makes place. */
const beginsWithinMs = 120_000;
const cancelsWithinMs = 15_000;

/**
 * Begins a job, and follows it to its end.
 * @returns the job when it has ended: `cancelled` also if the mirror did not say so in time.
 * @throws ApiFailure
 */
export async function followJob(
  api: Api,
  request: { readonly path: string; readonly body: JsonObject },
  options: FollowOptions,
): Promise<Job> {
  const { pauseMs = usualPauseMs, stop, onProgress } = options;
  const id = await begin(api, request, { ...options, pauseMs });
  for (;;) {
    if (stop.aborted) return cancelled(api, id);
    const job = await patiently(() => api(`jobs/${id}`), { pauseMs, stop }).catch(gone);
    if (job === undefined) continue;
    const known = answerAs(jobSchema, job);
    onProgress(known);
    if (known.state !== 'running') return known;
    await pause(pauseMs, stop);
  }
}

/** Runs a command that a signal may end: then its exit code says that, and a failure is only told. */
export async function interruptible(
  work: () => Promise<number>,
  { stop, printError }: { readonly stop: AbortSignal; readonly printError: (text: string) => void },
): Promise<number> {
  try {
    const code = await work();
    return stop.aborted ? interrupted : code;
  } catch (cause) {
    if (!stop.aborted) throw cause;
    if (cause instanceof ApiFailure) printError(`${printable(cause.message)}\n`);
    return interrupted;
  }
}

/** Waits for a place among the jobs. A signal that comes meanwhile is looked at when the job has begun. @returns the id. */
async function begin(
  api: Api,
  { path, body }: { readonly path: string; readonly body: JsonObject },
  { pauseMs, stop }: { readonly pauseMs: number; readonly stop: AbortSignal },
): Promise<string> {
  const untilMs = performance.now() + beginsWithinMs;
  for (;;) {
    try {
      return answerAs(jobSummary, await api(path, { method: 'POST', body })).id;
    } catch (cause) {
      const isFull = cause instanceof ApiFailure && cause.problem === 'unavailable';
      if (!isFull || stop.aborted || performance.now() > untilMs) throw cause;
      await pause(2 * pauseMs, stop);
    }
  }
}

/** @returns undefined when `stop` aborts. @throws ApiFailure */
async function patiently(
  ask: () => Promise<unknown>,
  { pauseMs, stop }: { readonly pauseMs: number; readonly stop: AbortSignal },
): Promise<unknown> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await abortable(ask(), stop);
    } catch (cause) {
      if (stop.aborted) return undefined;
      if (!isPassing(cause) || attempt === attempts) throw cause;
      await pause(2 * pauseMs, stop);
    }
  }
}

/** Whether the mirror does not answer, or has too much to do. */
function isPassing(cause: unknown): boolean {
  if (!(cause instanceof ApiFailure)) return false;
  return cause.exitCode === exitCodes.unreachable || cause.problem === 'unavailable';
}

function gone(cause: unknown): never {
  if (!(cause instanceof ApiFailure) || cause.problem !== 'not-found') throw cause;
  const message =
    'the mirror does not know the job any more: it was restarted, or many others were begun. Run this again';
  throw new ApiFailure(exitCodes.failed, message, { cause });
}

async function cancelled(api: Api, id: string): Promise<Job> {
  return answerAs(jobSchema, await api(`jobs/${id}`, { method: 'DELETE', withinMs: cancelsWithinMs }));
}

/** Ends early when the signal aborts. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {});
}
