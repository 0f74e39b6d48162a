import { unwatchFile, watchFile } from 'node:fs';
import pLimit from 'p-limit';
import { loadConfig } from '../config/loading/load.ts';
import { ConfigError } from '../config/loading/problems.ts';
import type { Config } from '../config/schema.ts';
import { tlsFilesOf } from '../config/loading/tls-files.ts';
import { warningsOf } from '../config/loading/checks.ts';
import { sectionsThatNeedRestart } from './mirror-rules.ts';
import type { Log } from '../telemetry/log.ts';

export interface ReloadingDeps {
  readonly file: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What the process was started with: whatever needs a restart is measured against it. */
  readonly started: Config;
  readonly apply: (changed: Config) => void;
  readonly log: Pick<Log, 'logger'>;
}

/** Kubernetes changes a mounted file by switching a symbolic link, which notifications miss: so it is looked at by time. */
const lookEveryMs = 5_000;

/**
 * Follows a configuration file while the mirror runs: when it is told to, and when the file changes, or one of the certificates and
 * keys towards upstreams. An invalid one changes nothing; what needs a restart is named, and the old stays.
 */
export class Reloading {
  readonly #deps: ReloadingDeps;
  #current: Config;
  #watched: readonly string[] = [];
  readonly #inTurn = pLimit(1);

  constructor(deps: ReloadingDeps) {
    this.#deps = deps;
    this.#current = deps.started;
  }

  /** What holds now. */
  get current(): Config {
    return this.#current;
  }

  start(): void {
    this.#watch([this.#deps.file, ...tlsFilesOf(this.#current)]);
  }

  stop(): void {
    this.#watch([]);
  }

  /** Reads the file again. Resolves when it holds, or was refused and logged. One at a time, in order. */
  reload(): Promise<void> {
    return this.#inTurn(() => this.#load());
  }

  #watch(files: readonly string[]): void {
    const [before, after] = [new Set(this.#watched), new Set(files)];
    for (const file of before.difference(after)) unwatchFile(file, this.#onChange);
    for (const file of after.difference(before)) {
      watchFile(file, { interval: lookEveryMs, persistent: false }, this.#onChange);
    }
    this.#watched = files;
  }

  readonly #onChange = (): void => void this.reload();

  async #load(): Promise<void> {
    const { file, env, started, apply, log } = this.#deps;
    try {
      const changed = await loadConfig({ file, env });
      apply(changed);
      this.#current = changed;
      if (this.#watched.length > 0) this.#watch([file, ...tlsFilesOf(changed)]);
      const needRestart = sectionsThatNeedRestart(started, changed);
      for (const warning of warningsOf(changed)) log.logger.warn({ warning }, 'configuration');
      log.logger.info({ needRestart }, 'configuration reloaded');
    } catch (cause) {
      const problems = cause instanceof ConfigError ? cause.problems : [String(cause)];
      log.logger.error({ problems }, 'configuration refused, the former one stays');
    }
  }
}
