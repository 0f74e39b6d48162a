import { join } from 'node:path';
import { type AppDeps, createApp } from '../../src/app/app.ts';
import { startInOrder } from '../../src/app/lifecycle.ts';
import { createLogger, type Log, requestLines } from '../../src/telemetry/log.ts';
import { RepeatedLines } from '../../src/telemetry/repeated-lines.ts';
import { configOf } from './config.ts';
import { ManualClock } from './manual-clock.ts';
import { type Metrics, parseMetrics } from './metrics.ts';
import { type Owner, thisTest } from './owner.ts';
import type { MirrorConfig } from './start-mirror.ts';
import { directoryInMemory, temporaryDirectory } from './temp-directory.ts';

/** What stands in the place of the machine's own. */
export type Replaced = Pick<
  AppDeps,
  'files' | 'requestDeadlineMs' | 'pauses' | 'bucketWait' | 'eventWait' | 'pinsWait' | 'tracing'
> & {
  readonly clock?: ManualClock;
};

/** An upstream is asked again at once. */
const noPauses = { random: () => 0, wait: async () => {} };

/** Builds the whole app in this process, on real sockets and a real disk, with a clock that the test turns. */
export async function startApp(config: MirrorConfig, options: StartAppOptions = {}): Promise<RunningApp> {
  return startIn(await temporaryDirectory(options.owner), config, options);
}

/** Likewise, with its store in memory if that can be: for tests of what is requested and answered, which no disk has a part in. */
export async function startAppInMemory(config: MirrorConfig, options: StartAppOptions = {}): Promise<RunningApp> {
  return startIn(await directoryInMemory(options.owner), config, options);
}

type StartAppOptions = Replaced & { readonly owner?: Owner };

async function startIn(
  folder: string,
  config: MirrorConfig,
  { owner = thisTest, ...replaced }: StartAppOptions,
): Promise<RunningApp> {
  const app = new RunningApp(join(folder, 'data'), replaced);
  owner(() => app.end());
  await app.start(config);
  return app;
}

type LogLine = Readonly<Record<string, unknown>>;

const stopWithinMs = 5_000;
/** A machine that is busy takes its time; what never ends fails the test. */
const leftBehindAfterMs = 20_000;

export class RunningApp {
  /** Where it keeps what it has. */
  readonly dataDirectory: string;
  readonly clock: ManualClock;
  readonly #replaced: Replaced;
  readonly #lines: LogLine[] = [];
  #config: MirrorConfig = {};
  #address = '';
  #managementAddress = '';
  #stop: ((deadlineMs: number) => Promise<void>) | undefined;

  constructor(dataDirectory: string, replaced: Replaced = {}) {
    this.dataDirectory = dataDirectory;
    this.#replaced = replaced;
    this.clock = replaced.clock ?? new ManualClock();
  }

  /** Its configuration, without what is chosen for it. */
  get config(): MirrorConfig {
    return this.#config;
  }

  get url(): string {
    return this.#address;
  }

  /** Where operators look. */
  get managementUrl(): string {
    return this.#managementAddress;
  }

  /** `127.0.0.1:<port>`. */
  get host(): string {
    return new URL(this.#address).host;
  }

  /** What it has logged so far, over all its runs. */
  get logLines(): readonly LogLine[] {
    return this.#lines;
  }

  async start(config: MirrorConfig): Promise<void> {
    this.#config = config;
    const settings = await configOf({
      listen: { host: '127.0.0.1', port: 0 },
      management: { host: '127.0.0.1', port: 0 },
      ...config,
      storage: { path: this.dataDirectory, ...Object(config['storage']) },
    });
    const log = this.#log();
    const { clock } = this;
    const versions = { version: 'test', nodeVersion: 'v0.0.0' };
    const app = createApp({
      config: settings,
      ...versions,
      log,
      failpoint: () => {},
      pauses: noPauses,
      ...this.#replaced,
      clock,
    });
    this.#stop = await startInOrder(app.parts, { graceMs: leftBehindAfterMs });
    this.#address = app.address();
    this.#managementAddress = app.managementAddress();
  }

  /** Lets what runs end within `withinMs`, and cuts the rest. */
  async stop(withinMs = stopWithinMs): Promise<void> {
    const stop = this.#stop;
    this.#stop = undefined;
    await stop?.(withinMs);
  }

  /** On the same data and another port; with other settings where they are given. */
  async restart(config: MirrorConfig = this.#config): Promise<void> {
    await this.stop();
    await this.start(config);
  }

  /** Stops at once. @throws when a bug was reported meanwhile: an answer of 500, or an unexpected error. */
  async end(): Promise<void> {
    await this.stop(0);
    const bugs = this.#lines.filter(({ msg }) => msg === 'unexpected error');
    if (bugs.length > 0) throw new Error(`the app reported a bug: ${JSON.stringify(bugs)}`);
  }

  /** Resolves when no download runs any more: what was pulled is kept by then. */
  async quiet(): Promise<void> {
    while ((await this.metrics()).sum('layerwell_cache_fills_in_flight') > 0);
  }

  /** Its metrics as they are now. */
  async metrics(): Promise<Metrics> {
    const answer = await fetch(`${this.#managementAddress}/metrics`);
    return parseMetrics(await answer.text());
  }

  #log(): Log {
    const write = (line: string) => this.#lines.push(parsed(line));
    const logger = createLogger({ level: 'info', repeated: new RepeatedLines() }, write);
    return { logger, droppedLines: 0, request: requestLines(logger, write), flush: () => {}, close: async () => {} };
  }
}

function parsed(line: string): LogLine {
  const value: unknown = JSON.parse(line);
  return typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value)) : {};
}
