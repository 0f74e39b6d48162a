import { unwatchFile, watchFile } from 'node:fs';
import pLimit from 'p-limit';
import { type ConfigText, parseConfig, readConfig } from '../config/loading/load.ts';
import { ConfigError } from '../config/loading/problems.ts';
import type { Config } from '../config/schema.ts';
import { sha256OfTlsFiles, tlsFilesOf } from '../config/loading/tls-files.ts';
import { warningsOf } from '../config/loading/checks.ts';
import { sectionsThatNeedRestart } from './mirror-rules.ts';
import type { Log } from '../telemetry/log.ts';

export interface ReloadingDeps {
  readonly file: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The configuration at the start of the process; a change of some of its sections needs a restart. */
  readonly started: Config;
  /** Of the file that it was read from. */
  readonly sha256: string;
  /** Of the certificates and keys towards upstreams, before they were read. */
  readonly tlsSha256: string;
  readonly apply: (changed: Config) => void;
  /** Called after each reload. */
  readonly onEnded?: (result: ReloadResult) => void;
  readonly log: Pick<Log, 'logger'>;
  /** For tests. */
  readonly lookEveryMs?: number;
}

export interface ReloadResult {
  readonly isUsed: boolean;
  /** Of the file, if it could be read. */
  readonly sha256: string | undefined;
  /** The sections of it that hold only after a restart. */
  readonly needRestart: readonly string[];
  /** Why it is not used. */
  readonly problems: readonly string[];
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
  #waiting: Promise<ReloadResult> | undefined;
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
    void this.#inTurn(() => this.#catchUp());
  }

  stop(): void {
    this.#watch([]);
  }

  /**
   * Reads the file again. Resolves when it is in use, or was refused and logged. Reloads run one at a time; all that are asked for while one
   * waits share it.
   */
  reload(): Promise<ReloadResult> {
    this.#waiting ??= this.#inTurn(() => {
      this.#waiting = undefined;
      return this.#load();
    });
    return this.#waiting;
  }

  #watch(files: readonly string[]): void {
    const { lookEveryMs: interval = lookEveryMs } = this.#deps;
    const [before, after] = [new Set(this.#watched), new Set(files)];
    for (const file of before.difference(after)) unwatchFile(file, this.#onChange);
    for (const file of after.difference(before)) {
      watchFile(file, { interval, persistent: false }, this.#onChange);
    }
    this.#watched = files;
  }

  readonly #onChange = (): void => void this.reload();

  /** Reloads if one of the files was changed after it was read at the start of the process, and before it was watched. */
  async #catchUp(): Promise<void> {
    const { file, started, sha256, tlsSha256 } = this.#deps;
    const read = await readConfig(file).catch(() => undefined);
    if (read?.sha256 !== sha256 || sha256OfTlsFiles(started) !== tlsSha256) await this.#load();
  }

  async #load(): Promise<ReloadResult> {
    const { file, onEnded = () => {}, log } = this.#deps;
    let sha256: string | undefined;
    try {
      const read = await readConfig(file);
      ({ sha256 } = read);
      const needRestart = await this.#use(read);
      const result = { isUsed: true, sha256, needRestart, problems: [] };
      onEnded(result);
      log.logger.info({ needRestart }, 'configuration reloaded');
      return result;
    } catch (cause) {
      const problems = cause instanceof ConfigError ? cause.problems : [String(cause)];
      const result = { isUsed: false, sha256, needRestart: [], problems };
      onEnded(result);
      log.logger.error({ problems }, 'configuration refused, the old one stays in use');
      return result;
    }
  }

  /** @returns the sections that need a restart. */
  async #use(read: ConfigText): Promise<readonly string[]> {
    const { file, env, started, apply, log } = this.#deps;
    const changed = await parseConfig(read, { file, env });
    apply(changed);
    this.#current = changed;
    if (this.#watched.length > 0) this.#watch([file, ...tlsFilesOf(changed)]);
    for (const warning of warningsOf(changed)) log.logger.warn({ warning }, 'configuration');
    return sectionsThatNeedRestart(started, changed);
  }
}
