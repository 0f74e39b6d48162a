import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { type Owner, thisTest } from './owner.ts';

export interface ProcessOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A real program, in a process group of its own. */
export class StartedProcess {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  #stdout = '';
  #stderr = '';
  readonly #listeners = new Set<() => void>();
  #exit: Exit | undefined;

  constructor(command: string, args: readonly string[], { env, cwd }: ProcessOptions = {}) {
    const [program, ...rest] = endingWithUs(command, args);
    this.#child = spawn(program, rest, {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
      ...(cwd !== undefined && { cwd }),
    });
    this.pid = this.#child.pid ?? -1;
    this.exited = this.#watch();
  }

  /** Everything it printed so far. */
  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  get output(): string {
    return this.#stdout + this.#stderr;
  }

  get hasExited(): boolean {
    return this.#exit !== undefined;
  }

  /** Resolves once `isReady` says so, asked whenever something was printed. @throws when it ends first, or after `withinMs`. */
  async waitUntil(isReady: (process: StartedProcess) => boolean, withinMs = 20_000): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = (): void => {
      if (isReady(this)) resolve();
      else if (this.#exit) reject(new Error(`it ended before it was ready: ${this.output}`));
    };
    const timer = setTimeout(() => reject(new Error(`not ready after ${withinMs} ms: ${this.output}`)), withinMs);
    this.#listeners.add(look);
    look();
    await promise.finally(() => {
      clearTimeout(timer);
      this.#listeners.delete(look);
    });
  }

  /** What it prints on stdout stays in its pipe from now on. */
  stopReading(): void {
    this.#child.stdout?.pause();
  }

  /** To the whole group. */
  send(signal: NodeJS.Signals): void {
    if (this.#exit || this.pid < 0) return;
    try {
      process.kill(-this.pid, signal);
    } catch {
      // It ended meanwhile.
    }
  }

  /** Asks it to end, and ends it when it has not after `graceMs`. */
  async stop({
    signal = 'SIGTERM',
    graceMs = 10_000,
  }: {
    signal?: NodeJS.Signals;
    graceMs?: number;
  } = {}): Promise<Exit> {
    this.send(signal);
    const timer = setTimeout(() => this.send('SIGKILL'), graceMs);
    return this.exited.finally(() => clearTimeout(timer));
  }

  #watch(): Promise<Exit> {
    const { promise, resolve } = Promise.withResolvers<Exit>();
    const killGroup = (): void => this.send('SIGKILL');
    const end = (exit: Exit): void => {
      process.off('exit', killGroup);
      this.#exit = exit;
      resolve(exit);
      this.#notify();
    };
    process.on('exit', killGroup);
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#print('stdout', text));
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => this.#print('stderr', text));
    this.#child.once('error', (error) => {
      this.#stderr += error.message;
      end({ code: 127, signal: null });
    });
    this.#child.once('close', (code, signal) => end({ code, signal }));
    return promise;
  }

  #print(stream: 'stdout' | 'stderr', text: string): void {
    if (stream === 'stdout') this.#stdout += text;
    else this.#stderr += text;
    this.#notify();
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** Starts a program that its owner ends. */
export function startProcess(
  command: string,
  args: readonly string[],
  options: ProcessOptions & { readonly owner?: Owner } = {},
): StartedProcess {
  const started = new StartedProcess(command, args, options);
  (options.owner ?? thisTest)(async () => {
    await started.stop();
  });
  return started;
}

/** Runs a program to its end. @throws with all it printed when it fails, or has not ended after `withinMs`. */
export async function run(
  command: string,
  args: readonly string[],
  options: ProcessOptions & { readonly withinMs?: number } = {},
): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const running = new StartedProcess(command, args, options);
  const timer = setTimeout(() => running.send('SIGKILL'), options.withinMs ?? 60_000);
  const { code, signal } = await running.exited.finally(() => clearTimeout(timer));
  if (code !== 0) {
    throw new Error(`${command} ${args.join(' ')}\nended with ${code ?? signal}\n${running.output}`);
  }
  return { stdout: running.stdout, stderr: running.stderr };
}

/** Linux can be asked to end a program with its parent: then not even a killed test run leaves one behind. */
function endingWithUs(command: string, args: readonly string[]): [string, ...string[]] {
  const setpriv = '/usr/bin/setpriv';
  return existsSync(setpriv) ? [setpriv, '--pdeathsig', 'KILL', '--', command, ...args] : [command, ...args];
}
