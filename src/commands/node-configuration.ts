import { glob, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { certificatesBeside } from '../clients/registry-certificates.ts';
import { type NodeSettings, parseNodeSettings } from '../config/node-settings.ts';
import { type FolderUse, folderUse, importsIn } from '../nodes/containerd-config.ts';
import { desiredFiles, type NodeFile } from '../nodes/desired-files.ts';
import { applyFiles, type Outcome, removeFiles } from '../nodes/node-configuration.ts';
import { NodeFolder } from '../nodes/node-folder.ts';
import { createLog, type Log } from '../telemetry/log.ts';

export interface NodeConfigurationOptions {
  /** The settings as JSON. They are read in each round, so that a change needs no restart. */
  readonly file: string;
  /** Where the file system of the node is; `/` on the node itself. */
  readonly root: string;
  /** The address of the node, for settings with `{nodeIP}`. */
  readonly nodeIP: string | undefined;
  /** A file that exists while everything is in place, or was removed: for a probe. */
  readonly readyFile: string | undefined;
  readonly log: Pick<Log, 'logger' | 'flush'>;
  readonly stop: AbortSignal;
  /** For tests. */
  readonly wait?: (ms: number, options: { readonly signal: AbortSignal }) => Promise<unknown>;
}

/** The options of the command line. */
export interface NodeConfigurationChoice {
  readonly settings: string;
  readonly root: string;
  readonly readyFile?: string;
  readonly watch?: boolean;
  readonly remove?: boolean;
  readonly stay?: boolean;
}

/** Runs the command, with its log on stdout. @returns the exit code. @throws ConfigError for settings that cannot be used. */
export async function nodeConfiguration(
  chosen: NodeConfigurationChoice & Pick<NodeConfigurationOptions, 'nodeIP' | 'stop'>,
): Promise<number> {
  const { settings: file, root, readyFile, nodeIP, stop } = chosen;
  const log = createLog({ level: 'info' });
  const options = { file, root, readyFile, nodeIP, stop, log };
  try {
    if (chosen.remove === true) return await unconfigureNode(options, { stays: chosen.stay === true });
    return await (chosen.watch === true ? watchNode(options) : configureNode(options));
  } finally {
    await log.close();
  }
}

const incomplete = 1;
/** A round of a watcher that began before the mark was there has ended by then. */
const settleMs = 2_000;
/** Until settings that cannot be read are looked at again. */
const retryMs = 30_000;

/**
 * Writes the files of a container runtime once.
 * @returns the exit code: 1 if a file is another's or could not be written.
 * @throws ConfigError for settings that cannot be used.
 */
export async function configureNode(options: NodeConfigurationOptions): Promise<number> {
  const rounds = new Rounds(options);
  const isComplete = await rounds.run(await settingsOf(options));
  return isComplete ? 0 : incomplete;
}

/** Writes the files and repairs them, until it is stopped. While they are being removed it does nothing. */
export async function watchNode(options: NodeConfigurationOptions): Promise<number> {
  const { stop, log, wait = pause } = options;
  const rounds = new Rounds(options);
  for (let isFirst = true; !stop.aborted; isFirst = false) {
    let intervalMs = retryMs;
    try {
      const settings = await settingsOf(options);
      intervalMs = settings.intervalSeconds * 1_000;
      if (isFirst) await folderOf(settings, options).unmarkRemoved();
      await rounds.run(settings);
    } catch (cause) {
      await rounds.isReady(false);
      log.logger.error({ err: cause }, 'node configuration');
    }
    log.flush();
    await wait(intervalMs, { signal: stop }).catch(() => {});
  }
  return 0;
}

/**
 * Removes the files and puts back what they replaced.
 * @param stays whether it then waits until it is stopped: a pod that ends would be started again.
 * @returns the exit code: 1 if a file could not be removed.
 */
export async function unconfigureNode(
  options: NodeConfigurationOptions,
  { stays }: { readonly stays: boolean },
): Promise<number> {
  const { stop, wait = pause } = options;
  const settings = await settingsOf(options);
  const folder = folderOf(settings, options);
  const rounds = new Rounds(options);
  await folder.markRemoved();
  try {
    await wait(settleMs, { signal: stop }).catch(() => {});
    const outcomes = await removeFiles(folder, settings.owner);
    const isComplete = rounds.report(outcomes);
    await rounds.isReady(isComplete);
    options.log.flush();
    if (stays && !stop.aborted) await wait(Number.MAX_SAFE_INTEGER, { signal: stop }).catch(() => {});
    return isComplete ? 0 : incomplete;
  } finally {
    await folder.unmarkRemoved();
  }
}

const inTheWay = 'a file of somebody else is in the way: remove it, or set takeOver';
const anotherReleases =
  'another release writes this file: leave the registry out of one of the two; if that release is gone, name it in takeOverFrom';

/** Rounds of one process: what stays refused or broken is logged once. */
class Rounds {
  readonly #options: NodeConfigurationOptions;
  #reported: ReadonlySet<string> = new Set();
  #use: FolderUse | undefined;
  #waits = false;

  constructor(options: NodeConfigurationOptions) {
    this.#options = options;
  }

  /** @returns whether everything is in place. */
  async run(settings: NodeSettings): Promise<boolean> {
    const folder = folderOf(settings, this.#options);
    if (await folder.isMarkedRemoved()) return this.#waitForRemoval(folder);
    this.#waits = false;
    await this.#reportUse(settings);
    const wanted = await this.#wanted(settings, folder);
    const isComplete = this.report(await applyFiles(folder, wanted, settings));
    await this.isReady(isComplete);
    return isComplete;
  }

  /** The certificates are looked for again in each round: an administrator may add some. */
  async #wanted(settings: NodeSettings, folder: NodeFolder): Promise<readonly NodeFile[]> {
    const facts = await this.#facts(settings);
    const paths = desiredFiles(settings, { ...facts, certificates: new Map() }).map(({ path }) => path);
    const certificates = await certificatesBeside(paths, (inside) => folder.namesIn(inside));
    return desiredFiles(settings, { ...facts, certificates });
  }

  /** A removal that was killed leaves its mark. @returns false */
  #waitForRemoval({ mark: file }: NodeFolder): false {
    const { logger } = this.#options.log;
    if (!this.#waits)
      logger.warn({ file }, 'the files are being removed: if not, delete this mark, or start a watcher');
    this.#waits = true;
    return false;
  }

  /** @returns whether nothing was refused or failed. */
  report(outcomes: readonly Outcome[]): boolean {
    const { logger } = this.#options.log;
    const lasting = outcomes.filter(({ action }) => action === 'refuse' || action === 'failed');
    for (const { path, action, cause, release } of outcomes) {
      const key = `${action} ${path}`;
      if (action === 'refuse' && !this.#reported.has(key))
        logger.warn({ file: path, action, release }, release === undefined ? inTheWay : anotherReleases);
      else if (action === 'failed' && !this.#reported.has(key))
        logger.error({ file: path, action, err: cause }, 'node configuration');
      else if (!lasting.some((one) => one.path === path)) logger.info({ file: path, action }, 'node configuration');
    }
    this.#reported = new Set(lasting.map(({ action, path }) => `${action} ${path}`));
    return lasting.length === 0;
  }

  async isReady(isReady: boolean): Promise<void> {
    const { readyFile } = this.#options;
    if (readyFile === undefined) return;
    await (isReady ? writeFile(readyFile, '') : rm(readyFile, { force: true }));
  }

  async #facts({
    mirrors,
    caFile,
  }: NodeSettings): Promise<{ readonly nodeIP: string; readonly ca: string | undefined }> {
    const { nodeIP = '', file } = this.#options;
    if (nodeIP === '' && mirrors.some((url) => url.includes('{nodeIP}')))
      throw new Error('the settings have {nodeIP}, and the variable NODE_IP is not set');
    const ca = caFile === undefined ? undefined : await readFile(resolve(dirname(file), caFile), 'utf8');
    return { nodeIP, ca };
  }

  async #reportUse({ runtime, folder, configFile }: NodeSettings): Promise<void> {
    if (runtime !== 'containerd') return;
    const use = folderUse(await configTexts(this.#options.root, configFile), folder);
    if (use === this.#use) return;
    this.#use = use;
    const { logger } = this.#options.log;
    if (use === 'read') logger.info({ folder, configFile }, 'containerd reads the folder');
    else logger.warn({ folder, configFile, use }, whatToDo[use]);
  }
}

/** What is to be done about a folder that containerd does not read. */
export const whatToDo: Readonly<Record<Exclude<FolderUse, 'read'>, string>> = {
  default: 'containerd before 2.2 reads the folder only if config_path names it, and config.toml has no config_path',
  elsewhere: 'containerd does not read the folder: config_path in config.toml names another',
  legacy:
    'containerd does not read the folder: config.toml has registry.mirrors or registry.configs, which exclude config_path',
};

async function settingsOf({ file }: NodeConfigurationOptions): Promise<NodeSettings> {
  const document: unknown = JSON.parse(await readFile(file, 'utf8'));
  return parseNodeSettings(document, file);
}

function folderOf({ folder }: NodeSettings, { root }: NodeConfigurationOptions): NodeFolder {
  return new NodeFolder({ root, folder });
}

/** The configuration of containerd and what it imports; nothing where it cannot be read. */
export async function configTexts(root: string, file: string): Promise<readonly string[]> {
  const text = await textOf(join(root, file));
  const imported: string[] = [];
  for (const pattern of importsIn(text)) {
    for await (const path of glob(join(root, resolve(dirname(file), pattern)))) imported.push(await textOf(path));
  }
  return [text, ...imported];
}

async function textOf(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '');
}

/** Longer waits than a timer can have are cut; the caller begins again. */
async function pause(ms: number, { signal }: { readonly signal: AbortSignal }): Promise<void> {
  const longestMs = 2 ** 31 - 1;
  await sleep(Math.min(ms, longestMs), undefined, { signal });
}
