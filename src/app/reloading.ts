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
  /** The configuration at the start of the process; a change of some of its sections needs a restart. */
  readonly started: Config;
  readonly apply: (changed: Config) => void;
  /** Called after each reload: whether the changed configuration is in use. */
  readonly onEnded?: (result: { readonly isUsed: boolean }) => void;
  readonly log: Pick<Log, 'logger'>;
}

/** Files are polled: Kubernetes changes a mounted file by switching a symbolic link, which file system notifications miss. */
const lookEveryMs = 5_000;

/**
 * Reloads the configuration on SIGHUP, and when its file or a certificate or key towards an upstream changes. An invalid configuration
 * changes nothing. Sections that need a restart keep their old values, and the log names them.
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

  /** The configuration in use. */
  get current(): Config {
    return this.#current;
  }

  start(): void {
    this.#watch([this.#deps.file, ...tlsFilesOf(this.#current)]);
  }

  stop(): void {
    this.#watch([]);
  }

  /** Reads the file again. Resolves when it is in use, or was refused and logged. Reloads run one at a time, in order. */
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
    const { file, env, started, apply, onEnded = () => {}, log } = this.#deps;
    try {
      const changed = await loadConfig({ file, env });
      apply(changed);
      this.#current = changed;
      if (this.#watched.length > 0) this.#watch([file, ...tlsFilesOf(changed)]);
      const needRestart = sectionsThatNeedRestart(started, changed);
      for (const warning of warningsOf(changed)) log.logger.warn({ warning }, 'configuration');
      onEnded({ isUsed: true });
      log.logger.info({ needRestart }, 'configuration reloaded');
    } catch (cause) {
      const problems = cause instanceof ConfigError ? cause.problems : [String(cause)];
      onEnded({ isUsed: false });
      log.logger.error({ problems }, 'configuration refused, the old one stays in use');
    }
  }
}
