import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from './free-port.ts';
import { type Metrics, parseMetrics } from './metrics.ts';
import { type Owner, thisTest } from './owner.ts';
import { type Exit, StartedProcess } from './processes.ts';
import { temporaryDirectory } from './temp-directory.ts';

/** What a test says of the configuration; addresses and places on the disk are chosen for it. */
export type MirrorConfig = Readonly<Record<string, unknown>>;

/** A mirror before one registry that clients know as docker.io. */
export function mirrorOf(upstream: { readonly url: string }, more: MirrorConfig = {}): MirrorConfig {
  return { defaultUpstream: 'docker.io', upstreams: { 'docker.io': { url: upstream.url } }, ...more };
}

export type Fault = 'unhandled-rejection' | 'uncaught-exception' | 'fsync-hangs' | 'lookup-hangs';

export interface StartOptions {
  /** Added to the environment of this run. */
  readonly env?: Readonly<Record<string, string>>;
  /** What is run; by default the source. */
  readonly program?: string;
  /** What it does wrong when it gets SIGUSR2; see process-faults.ts. */
  readonly fault?: Fault;
}

/** Starts the program as an operator would, and waits until it says that it listens. */
export async function startMirror(
  config: MirrorConfig,
  { owner = thisTest, ...options }: StartOptions & { readonly owner?: Owner } = {},
): Promise<RunningMirror> {
  const mirror = new RunningMirror({
    directory: await temporaryDirectory(owner),
    port: await freePort(),
    managementPort: await freePort(),
  });
  owner(async () => {
    await mirror.stop();
  });
  await mirror.start(config, options);
  return mirror;
}

interface Place {
  readonly directory: string;
  readonly port: number;
  readonly managementPort: number;
}

export class RunningMirror {
  readonly url: string;
  /** `127.0.0.1:<port>`. */
  readonly host: string;
  readonly managementUrl: string;
  /** Where it keeps what it has. */
  readonly dataDirectory: string;
  readonly #place: Place;
  #process: StartedProcess | undefined;
  #hasFault = false;
  #config: MirrorConfig = {};

  constructor(place: Place) {
    this.#place = place;
    this.host = `127.0.0.1:${place.port}`;
    this.url = `http://${this.host}`;
    this.managementUrl = `http://127.0.0.1:${place.managementPort}`;
    this.dataDirectory = join(place.directory, 'data');
  }

  /** With which it was last started. */
  get config(): MirrorConfig {
    return this.#config;
  }

  get pid(): number {
    return this.#process?.pid ?? -1;
  }

  /** How this run ended, once it has. */
  get exited(): Promise<Exit | undefined> {
    return this.#process?.exited ?? Promise.resolve(undefined);
  }

  get configFile(): string {
    return join(this.#place.directory, 'mirror.config.json');
  }

  async start(config: MirrorConfig, { env, program = 'src/main.ts', fault }: StartOptions = {}): Promise<void> {
    await this.writeConfig(config);
    this.#hasFault = fault !== undefined;
    const args = [...(fault ? ['--import', faults] : []), program, 'serve', '--config', this.configFile];
    const process_ = new StartedProcess(process.execPath, args, {
      env: { ...env, ...(fault && { TEST_FAULT: fault }) },
    });
    this.#process = process_;
    await process_.waitUntil(() => this.logLines().some(({ msg }) => msg === 'listening'));
  }

  /** Without telling the program. */
  async writeConfig(config: MirrorConfig): Promise<void> {
    this.#config = config;
    const { port, managementPort } = this.#place;
    const complete = {
      listen: { host: '127.0.0.1', port },
      management: { host: '127.0.0.1', port: managementPort },
      storage: { path: this.dataDirectory },
      ...config,
    };
    await writeFile(this.configFile, JSON.stringify(complete));
  }

  /** With SIGTERM, as a service manager does. @throws when something failed in this run that no code handled. */
  async stop(): Promise<Exit | undefined> {
    const exit = await this.#process?.stop({ graceMs: 30_000 });
    this.#throwIfUnhandled();
    return exit;
  }

  /** With SIGKILL, as a crash does. @throws likewise. */
  async kill(): Promise<void> {
    await this.#process?.stop({ signal: 'SIGKILL' });
    this.#throwIfUnhandled();
  }

  send(signal: NodeJS.Signals): void {
    this.#process?.send(signal);
  }

  /** What it prints stays in its pipe from now on. */
  stopReading(): void {
    this.#process?.stopReading();
  }

  /** On the same ports and data; with other settings where they are given. */
  async restart(config: MirrorConfig = this.#config): Promise<void> {
    await this.stop();
    await this.start(config);
  }

  /** What this run has printed so far. */
  get printed(): string {
    return this.#process?.output ?? '';
  }

  /** What this run has logged so far. */
  logLines(): readonly Readonly<Record<string, unknown>>[] {
    return (this.#process?.stdout ?? '').split('\n').flatMap(parsedLine);
  }

  /** Resolves once a line of the log is as `isIt` says. */
  async logged(isIt: (line: Readonly<Record<string, unknown>>) => boolean): Promise<void> {
    await this.#process?.waitUntil(() => this.logLines().some(isIt));
  }

  #throwIfUnhandled(): void {
    const failures = this.logLines().filter(({ msg }) => unhandled.has(msg));
    if (failures.length > 0 && !this.#hasFault) throw new Error(`unhandled errors: ${JSON.stringify(failures)}`);
  }

  /** Its metrics as they are now. */
  async metrics(): Promise<Metrics> {
    const answer = await fetch(`${this.managementUrl}/metrics`);
    return parseMetrics(await answer.text());
  }
}

/** Loaded before the program. */
export const faults = join(import.meta.dirname, 'process-faults.ts');
const unhandled = new Set<unknown>(['unhandled rejection', 'uncaught exception']);

/** The last line may still be arriving. */
function parsedLine(line: string): readonly Record<string, unknown>[] {
  try {
    const value: unknown = JSON.parse(line);
    return isRecord(value) ? [value] : [];
  } catch {
    return [];
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
