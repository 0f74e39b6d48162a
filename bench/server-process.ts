import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export interface ServerCommand {
  readonly program: string;
  /** A command that keeps the server on some processors. It replaces itself by the program, so that the process id is that of the server. */
  readonly pinnedBy?: readonly string[] | undefined;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Receives everything the server prints. */
  readonly logFile: string;
  /** Answers 200 once the server is ready. */
  readonly readyUrl: string;
}

/** A running server. Disposing it ends the process and waits for its exit. */
export interface ServerProcess extends AsyncDisposable {
  readonly pid: number;
  /** From the start of the process to the first 200. */
  readonly readyAfterMs: number;
}

const readyWithinMs = 20_000;
const pollEveryMs = 5;
const endsWithinMs = 10_000;

/** @throws Error with the server's output if it exits or does not answer. */
export async function startServer(command: ServerCommand, signal: AbortSignal): Promise<ServerProcess> {
  const startedAtMs = performance.now();
  const child = await spawnInto(command);
  try {
    await untilReady(child, command.readyUrl, AbortSignal.any([signal, AbortSignal.timeout(readyWithinMs)]));
  } catch (cause) {
    await end(child);
    const printed = await readFile(command.logFile, 'utf8');
    throw new Error(`${command.program} did not get ready; it printed:\n${printed.slice(-2_000)}`, { cause });
  }
  const readyAfterMs = performance.now() - startedAtMs;
  return { pid: pidOf(child), readyAfterMs, [Symbol.asyncDispose]: () => end(child) };
}

/** A port of 127.0.0.1 that was free just now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('the listener has no port');
  return address.port;
}

async function spawnInto(command: ServerCommand): Promise<ChildProcess> {
  await using log = await open(command.logFile, 'a');
  const [program = command.program, ...args] = [...(command.pinnedBy ?? []), command.program, ...command.args];
  const child = spawn(program, args, {
    stdio: ['ignore', log.fd, log.fd],
    env: { ...command.env },
  });
  await once(child, 'spawn');
  return child;
}

async function untilReady(child: ChildProcess, url: string, signal: AbortSignal): Promise<void> {
  while (!(await answersOk(url, signal))) {
    if (hasEnded(child)) throw new Error(`it exited with ${child.exitCode ?? child.signalCode}`);
    await delay(pollEveryMs, undefined, { signal });
  }
}

async function answersOk(url: string, signal: AbortSignal): Promise<boolean> {
  try {
    const answer = await fetch(url, { signal });
    await answer.arrayBuffer();
    return answer.ok;
  } catch {
    return false;
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const killer = setTimeout(() => child.kill('SIGKILL'), endsWithinMs);
  await ended;
  clearTimeout(killer);
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function pidOf(child: ChildProcess): number {
  if (child.pid === undefined) throw new Error('the process has no id');
  return child.pid;
}
