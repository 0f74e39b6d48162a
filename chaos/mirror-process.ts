import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort } from '../test/support/free-port.ts';
import { type Metrics, parseMetrics } from '../test/support/metrics.ts';

const run = promisify(execFile);
const readyWithinMs = 30_000;
/** Fewer than its clients alone need. */
const starvedDescriptors = 45;
const plentyOfDescriptors = 4_096;
const maxStarvationMs = 10_000;

/** The certificate and key files of a listener. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface MirrorProcessOptions {
  /** The folder of its configuration and its log. */
  readonly folder: string;
  readonly dataFolder: string;
  readonly config: object;
  /** Clients pull over TLS. */
  readonly tls?: TlsFiles;
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/** The program as an operator runs it, on fixed ports, with its log in a file. It records when it was down. */
export class MirrorProcess {
  readonly dataFolder: string;
  readonly logFile: string;
  readonly #folder: string;
  readonly #config: object;
  readonly #tls: TlsFiles | undefined;
  readonly #env: Readonly<Record<string, string>>;
  /** When it was down: from just before its end to its first response. */
  readonly #absences: Period[] = [];
  /** When it could open no files or sockets. */
  readonly #starvations: Period[] = [];
  #port = 0;
  #managementPort = 0;
  #child: ChildProcess | undefined;

  /** @param options.config without addresses and paths. */
  constructor({ folder, dataFolder, config, tls, env = {} }: MirrorProcessOptions) {
    this.#folder = folder;
    this.#env = env;
    this.#tls = tls;
    this.dataFolder = dataFolder;
    this.logFile = join(folder, 'mirror.log');
    this.#config = config;
  }

  get host(): string {
    return `127.0.0.1:${this.#port}`;
  }

  get origin(): string {
    return `${this.#tls ? 'https' : 'http'}://${this.host}`;
  }

  get port(): number {
    return this.#port;
  }

  get pid(): number {
    return this.#child?.pid ?? -1;
  }

  /** Whether it was down at any time between two values of `performance.now()`. */
  wasAbsent(fromMs: number, toMs: number): boolean {
    return this.#absences.some((absence) => overlaps(absence, fromMs, toMs));
  }

  wasStarved(fromMs: number, toMs: number): boolean {
    return this.#starvations.some((starvation) => overlaps(starvation, fromMs, toMs));
  }

  /** Keeps it from opening files and sockets, until the signal aborts. */
  async starve(signal: AbortSignal): Promise<void> {
    const starvation = { fromMs: performance.now(), toMs: Infinity };
    this.#starvations.push(starvation);
    await limitDescriptors(this.pid, starvedDescriptors);
    await sleep(maxStarvationMs, undefined, { signal }).catch(() => {}); // Aborted: ends early.
    await limitDescriptors(this.pid, plentyOfDescriptors);
    // Requests that began during the starvation may fail a moment later.
    starvation.toMs = performance.now() + 1_000;
  }

  /** Resolves when it is running. */
  async present(): Promise<void> {
    while (this.#absences.at(-1)?.toMs === Infinity) await sleep(50);
  }

  /** @throws Error with the end of its log if it does not become ready. */
  async start(): Promise<void> {
    this.#port ||= await freePort();
    this.#managementPort ||= await freePort();
    const file = join(this.#folder, 'mirror.config.json');
    await writeFile(file, JSON.stringify(this.#complete()));
    await using log = await open(this.logFile, 'a');
    const [program, ...args] = endingWithUs([process.execPath, 'src/main.ts', 'serve', '--config', file]);
    this.#child = spawn(program, args, { stdio: ['ignore', log.fd, log.fd], env: { ...process.env, ...this.#env } });
    await this.#untilReady(this.#child);
    const absence = this.#absences.at(-1);
    if (absence) absence.toMs = performance.now();
  }

  /** With SIGKILL. */
  async kill(): Promise<void> {
    this.#absences.push({ fromMs: performance.now(), toMs: Infinity });
    await this.#end('SIGKILL');
  }

  /** With SIGSTOP: it accepts connections but answers nothing, until {@link thaw}. Its clients count it as down. */
  freeze(): void {
    this.#absences.push({ fromMs: performance.now(), toMs: Infinity });
    this.#child?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child?.kill('SIGCONT');
    const absence = this.#absences.at(-1);
    // Requests that began while it was frozen may fail a moment later.
    if (absence) absence.toMs = performance.now() + 1_000;
  }

  /** With SIGTERM. @returns its exit code. */
  async stop(): Promise<number | null> {
    return this.#end('SIGTERM');
  }

  async metrics(): Promise<Metrics> {
    const answer = await fetch(`http://127.0.0.1:${this.#managementPort}/metrics`);
    return parseMetrics(await answer.text());
  }

  /** Log lines that report a bug or an unhandled rejection, or that are not JSON. */
  async bugs(): Promise<readonly string[]> {
    const lines = (await readFile(this.logFile, 'utf8')).split('\n');
    return lines.filter((line) => /"msg":"(unexpected error|unhandled)/.test(line) || !/^(\{.*\})?$/.test(line));
  }

  #complete(): object {
    return {
      ...this.#config,
      listen: { host: '127.0.0.1', port: this.#port, ...(this.#tls && { tls: this.#tls }) },
      management: { host: '127.0.0.1', port: this.#managementPort },
      storage: { ...Object(Reflect.get(this.#config, 'storage')), path: this.dataFolder },
    };
  }

  async #untilReady(child: ChildProcess): Promise<void> {
    const deadlineMs = performance.now() + readyWithinMs;
    while (performance.now() < deadlineMs) {
      if (child.exitCode !== null || child.signalCode !== null) break;
      const answer = await fetch(`http://127.0.0.1:${this.#managementPort}/readyz`).catch(() => undefined);
      await answer?.arrayBuffer();
      if (answer?.status === 200) return;
      await sleep(20);
    }
    const log = await readFile(this.logFile, 'utf8');
    throw new Error(`the mirror did not become ready (${child.exitCode ?? child.signalCode}): ${log.slice(-2_000)}`);
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return null;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
    return child.exitCode;
  }
}

/** A period of `performance.now()`. While it lasts, it ends at Infinity. */
interface Period {
  readonly fromMs: number;
  toMs: number;
}

function overlaps(period: Period, fromMs: number, toMs: number): boolean {
  return period.fromMs <= toMs && period.toMs >= fromMs;
}

/** Uses prlimit(1) of util-linux. Ignores a process that has ended. */
async function limitDescriptors(pid: number, count: number): Promise<void> {
  await run('prlimit', ['--pid', String(pid), `--nofile=${count}:`]).catch(() => {});
}

/** Makes Linux kill the program when its parent ends. */
function endingWithUs(command: readonly [string, ...string[]]): readonly [string, ...string[]] {
  const setpriv = '/usr/bin/setpriv';
  return existsSync(setpriv) ? [setpriv, '--pdeathsig', 'KILL', '--', ...command] : command;
}
