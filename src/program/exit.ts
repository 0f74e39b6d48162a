import { write } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigError } from '../config/loading/problems.ts';
import { StartFailure } from '../app/lifecycle.ts';

const failed = 1;
const configRefused = 2;

/** @param work returns the exit code, where that is not 0. */
export async function run(work: () => Promise<number | void>): Promise<void> {
  try {
    process.exitCode = (await work()) ?? 0;
  } catch (error) {
    process.exitCode = error instanceof ConfigError ? configRefused : failed;
    await Promise.race([print(linesOf(error)), sleep(printsWithinMs)]);
  }
  setTimeout(leave, endsByItselfWithinMs).unref();
}

/** By then the process has exited, unless the disk, a name lookup or the reader of stdout hangs. Nothing that runs on is needed. */
const endsByItselfWithinMs = 50;
/** How long the reader of stderr is waited for. */
const printsWithinMs = 400;

/**
 * Exits even if threads hang in system calls: exit(3) would wait for them, execve ends them. The replacing process exits with the same
 * code.
 */
function leave(): void {
  const code = Number(process.exitCode ?? failed);
  process.execve?.(process.execPath, [process.execPath, '--eval', `process.exit(${code})`], {});
  process.exit();
}

/** Prints to stderr. Its reader may never take it. */
function print(text: string): Promise<void> {
  return new Promise((resolve) => write(2, `${text}\n`, () => resolve()));
}

/** The messages of an error and its causes, without stack traces: those are in the log. */
function linesOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof ConfigError) return error.message;
  const cause = error.cause instanceof Error && !error.message.includes(error.cause.message) ? error.cause : undefined;
  const line = cause ? `${error.message}: ${linesOf(cause)}` : error.message;
  return error instanceof StartFailure ? [line, ...error.stopFailures.map(linesOf)].join('\n') : line;
}

export function stopSignals(): { readonly stop: AbortSignal; readonly force: AbortSignal } {
  const [stop, force] = [new AbortController(), new AbortController()];
  const onSignal = () => (stop.signal.aborted ? force : stop).abort();
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  return { stop: stop.signal, force: force.signal };
}

/** @returns takes what SIGHUP is to do. One that came before is acted on then. */
export function reloadSignals(): (reload: () => void) => void {
  let isAsked = false;
  let act = (): void => {
    isAsked = true;
  };
  process.on('SIGHUP', () => act());
  return (reload) => {
    act = reload;
    if (isAsked) reload();
  };
}

/** Ends the process after an uncaught exception, since its state cannot be trusted any more, and prints why. */
export function endOn(report: (cause: unknown) => Promise<void>): (error: unknown) => void {
  return (error) => {
    process.exitCode = failed;
    void print(`ended by an uncaught exception: ${linesOf(error)}`);
    void report(error).then(leave, leave);
  };
}

/** As the first process of a container, a process without handlers ignores these signals. */
export function endOnSignals(): void {
  const endWith = (code: number) => (): void => {
    process.exitCode = code;
    leave();
  };
  process.once('SIGTERM', endWith(128 + 15)).once('SIGINT', endWith(128 + 2));
}
