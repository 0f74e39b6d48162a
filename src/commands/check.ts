import { loadConfig } from '../config/loading/load.ts';
import { ConfigError } from '../config/loading/problems.ts';
import { warningsOf } from '../config/loading/checks.ts';
import type { Config, UpstreamConfig } from '../config/schema.ts';
import { systemClock } from '../mirror/ports/clock.ts';
import type { Observer } from '../mirror/ports/observer.ts';
import { createRegistryClient } from '../upstream/registry-client.ts';
import type { UpstreamSettings } from '../upstream/settings.ts';
import { upstreamEntries } from '../app/upstream-settings.ts';
import { checkRedis } from './check-redis.ts';
import { type CheckedUpstream, failuresIn, rowsIn, tableOf } from './check-report.ts';
import { fileProblems } from './named-files.ts';

export interface CheckOptions {
  readonly file: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  /** Whether the upstreams are probed too. */
  readonly isOnline: boolean;
  readonly json?: boolean;
  readonly print: (text: string) => void;
}

const [somethingFailed, configRefused] = [1, 2];
/** For all probes of one upstream. */
const askWithinMs = 60_000;

/**
 * Checks a configuration and, online, whether each upstream and each Redis answers and accepts its credentials. Nothing is pulled or stored.
 * @returns the exit code: 0, or 1 when an upstream or a Redis cannot be used; 2 with `json` for a file that cannot be used.
 * @throws ConfigError without `json`, with every problem of the file, and of the files it names.
 */
export function check(options: CheckOptions): Promise<number> {
  return options.json === true ? checkInJson(options) : checkInWords(options);
}

async function checkInWords(options: CheckOptions): Promise<number> {
  const { file, isOnline, print } = options;
  const { config, settings } = await loaded(options);
  print(`${file}: ok\n`);
  for (const warning of warningsOf(config)) print(`warning: ${warning}\n`);
  if (!isOnline) return 0;
  const checked = await checkUpstreams(config, settings);
  print(`\n${tableOf(checked)}`);
  const failures = failuresIn(checked);
  if (failures.length > 0) print(`\n${failures.map((failure) => `${failure}\n`).join('')}`);
  const redis = await checkRedis(config);
  if (redis.length > 0) print(`\n${redis.map(({ line }) => `${line}\n`).join('')}`);
  const isUsable = failures.length === 0 && redis.every((one) => one.isUsable);
  return isUsable ? 0 : somethingFailed;
}

async function checkInJson(options: CheckOptions): Promise<number> {
  const { file, isOnline, print } = options;
  const printJson = (value: object) => print(`${JSON.stringify({ file, ...value }, null, 2)}\n`);
  try {
    const { config, settings } = await loaded(options);
    const warnings = warningsOf(config);
    const checked = isOnline ? await checkUpstreams(config, settings) : [];
    const redis = isOnline ? await checkRedis(config) : [];
    const isUsable = failuresIn(checked).length === 0 && redis.every((one) => one.isUsable);
    printJson({ isUsable, warnings, ...(isOnline && { upstreams: rowsIn(checked), redis }) });
    return isUsable ? 0 : somethingFailed;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    printJson({ isUsable: false, problems: error.problems });
    return configRefused;
  }
}

async function loaded({ file, env, version }: CheckOptions) {
  const config = await loadConfig({ file, env });
  return { config, settings: await usableEntries(config, { file, version }) };
}

function checkUpstreams(
  { upstreams }: Config,
  settings: ReadonlyMap<string, UpstreamSettings>,
): Promise<readonly CheckedUpstream[]> {
  return Promise.all(upstreams.map((upstream) => checkUpstream(upstream, settings)));
}

/** The settings of the upstreams, after every file that the configuration names was read. */
async function usableEntries(
  config: Config,
  { file, version }: Pick<CheckOptions, 'file' | 'version'>,
): Promise<ReadonlyMap<string, UpstreamSettings>> {
  const problems = await fileProblems(config);
  try {
    const entries = upstreamEntries(config, { version });
    if (problems.length === 0) return entries;
  } catch (cause) {
    if (!(cause instanceof ConfigError)) throw cause;
    throw new ConfigError(file, [...cause.problems, ...problems], { cause });
  }
  throw new ConfigError(file, problems);
}

async function checkUpstream(
  { name, isPattern, freshness }: UpstreamConfig,
  entries: ReadonlyMap<string, UpstreamSettings>,
): Promise<CheckedUpstream> {
  const settings = entries.get(name);
  if (isPattern || !settings) return { name, notAsked: 'a pattern, not asked' };
  if (freshness.offline) return { name, notAsked: 'offline, not asked' };
  const client = createRegistryClient({ name, label: name, settings, clock: systemClock, observer: silentObserver() });
  try {
    const endpoints = await client.probe({ signal: AbortSignal.timeout(askWithinMs) });
    return { name, settings, endpoints };
  } finally {
    await client.close();
  }
}

/** The command has no metrics. */
function silentObserver(): Observer {
  const ignore = () => {};
  return {
    answered: ignore,
    rejected: ignore,
    upstreamAnswered: ignore,
    upstreamRetried: ignore,
    upstreamFailed: ignore,
    secretFetched: ignore,
    circuitChanged: ignore,
    upstreamBytes: ignore,
    blobBytes: ignore,
    rateLimitSeen: ignore,
    downloadStarted: ignore,
    downloadsWaiting: ignore,
    downloadEnded: ignore,
    manifestDownloaded: ignore,
    collapsed: ignore,
    tagRevalidated: ignore,
    tagMoved: ignore,
    servedStale: ignore,
    siblingAsked: ignore,
    siblingServed: ignore,
    contentStored: ignore,
    imageStored: ignore,
    evicted: ignore,
    corruptionFound: ignore,
    indexRebuilt: ignore,
    integrityChecked: ignore,
    internalError: ignore,
  };
}
